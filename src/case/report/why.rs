//! The *why* view: answers as text, each token with what became of it.
//!
//! The text comes from outside. It is escaped, and characters that would move other text about are written as codes.

use maud::{Markup, html};

use super::View;
use super::number::{count, percent, real};
use crate::case::Finding;
use crate::case::material::{Answer, Beside, Content};
use crate::case::plan::{Access, Role};
use crate::law::Law;
use crate::scheme::{Arm, Scheme};
use crate::score::{Coin, Counter, Position, Repeat};
use crate::stat::math::to_f64;
use crate::token::TokenId;

/// Answers shown of the primary suspect, and of a control.
const ANSWERS: [usize; 2] = [3, 1];
/// Tokens shown of each.
const TOKENS: usize = 240;

pub(super) fn section(view: &View<'_>) -> Markup {
    let text = |roles: &[Role]| {
        let fits = |finding: &&Finding| finding.access == Access::Text && roles.contains(&finding.role);
        view.findings().iter().find(fits)
    };
    let suspect = text(&[Role::Student, Role::Suspect]);
    let control = text(&[Role::Control]).or_else(|| text(&[Role::Innocent]));
    html! {
        section {
            h2 { "Why: the answers, token by token" }
            @if suspect.is_none() && control.is_none() {
                p { "No registered test looked at answers as text." }
            } @else {
                p {
                    "The first answers in plan order, not chosen. The key is open now, so anybody can recompute each of these marks. "
                    @if let Some(law @ Law::Bernoulli(_)) = view.law() {
                        "Chance makes " (super::rate(law.mean(), view.law())) " of the draws green. "
                    }
                    "No single token shows anything; the sum over all answers does."
                }
                (legend(view.law()))
                @for (finding, answers) in [suspect, control].into_iter().zip(ANSWERS) {
                    @if let Some(finding) = finding { (shown(view, finding, answers)) }
                }
            }
        }
    }
}

fn legend(law: Option<Law>) -> Markup {
    let (green, plain) = match law {
        Some(Law::Bernoulli(_)) => ("green", "not green"),
        _ => ("draw above its mean", "draw below its mean"),
    };
    html! {
        ul.legend {
            @for (class, words) in [
                ("g", green),
                ("p", plain),
                ("r", "same draw as before: not counted again"),
                ("w", "window lies in the prompt: not counted"),
                ("s", "window too short: not counted"),
                ("m", "input may be marked: not counted"),
            ] { li { span class=(class) { "token" } " " (words) } }
        }
    }
}

fn shown(view: &View<'_>, finding: &Finding, answers: usize) -> Markup {
    let planned = view.planned(finding).and_then(|test| Some((test, test.keys.first()?)));
    let sealed = planned.filter(|_| view.sealed.is_some());
    let scheme = sealed.and_then(|(test, key)| crate::case::scheme(test, key, &view.keys).ok().flatten());
    let material = view.input.bundle.material.iter().find(|material| material.suspect == finding.suspect);
    let texts = view.input.bundle.material.iter().filter(|material| material.suspect == finding.suspect);
    let texts = texts.filter_map(|material| match &material.content {
        Content::Beside(Beside { answers, .. }) | Content::Text(answers) => Some(answers),
        Content::Canary(_) | Content::Likelihoods(_) | Content::Distributions(_) | Content::Reading(_) => {
            None
        }
    });
    let texts: Vec<&Answer> = texts.flatten().take(answers).collect();
    html! {
        h3 { (finding.suspect) " " span.small { "(" (super::role(finding.role))
            @if let Some((_, key)) = planned { "; the draws of " code { (key.mark) } " in epoch " (key.epoch) }
            ")" } }
        @match scheme {
            Some(scheme) if material.is_some() => {
                @let mut counter = Counter::new(scheme.spec().width());
                @for (answer, number) in texts.iter().zip(0..) { (one(view, &scheme, &mut counter, answer, number)) }
            }
            _ => p { "The key does not verify or was not opened: nothing can be shown." },
        }
    }
}

fn one(view: &View<'_>, scheme: &Scheme, counter: &mut Counter, answer: &Answer, number: u32) -> Markup {
    let exchange = answer.exchange(view.plan.pool.provenance);
    let Ok(positions) = counter.exchange(&exchange, number) else {
        return html! { p { "This answer is refused by the rules for marked inputs." } };
    };
    let context = answer.tokens();
    let mark =
        |(at, position): (usize, &Position)| Mark::of(position, scheme, &context, answer.prompt.len() + at);
    let marks: Vec<Mark> = positions.iter().enumerate().map(mark).collect();
    let pieces = pieces(view.input.decode, &answer.response[..answer.response.len().min(TOKENS)]);
    let prompt = visible(&(view.input.decode)(&answer.prompt));
    let (counted, green) =
        (tally(&marks, |mark| !mark.again), tally(&marks, |mark| !mark.again && mark.green));
    html! {
        div.answer {
            p.prompt { span.small { "Prompt " (number + 1) ": " } (prompt) }
            p.tokens {
                @for (piece, mark) in pieces.iter().zip(&marks) { span class=(mark.class) title=(mark.title) { (visible(piece)) } }
                @if answer.response.len() > TOKENS { span.small { " … and " (count((answer.response.len() - TOKENS) as u64)) " more tokens" } }
            }
            p.small {
                (count(positions.len() as u64)) " tokens, " (count(counted)) " new draws, " (count(green)) " of them "
                @match view.law() { Some(Law::Bernoulli(_)) => "green", _ => "above their mean" }
                @if counted > 0 { " (" (percent(to_f64(green) / to_f64(counted), 0)) ")" }
            }
        }
    }
}

fn tally(marks: &[Mark], keep: impl Fn(&Mark) -> bool) -> u64 {
    marks.iter().filter(|mark| mark.is_draw && keep(mark)).count() as u64
}

/// What a reader sees of one token.
struct Mark {
    class: &'static str,
    title: String,
    is_draw: bool,
    green: bool,
    again: bool,
}

impl Mark {
    fn of(position: &Position, scheme: &Scheme, context: &[TokenId], at: usize) -> Self {
        match position {
            Position::Draw(coin, repeat) => Self::draw(*coin, *repeat, scheme, (context, at)),
            Position::MarkedInput => {
                Self::skipped("m", "not counted: the input of this exchange may be marked")
            }
            Position::PromptWindow => Self::skipped("w", "not counted: the window lies inside the prompt"),
            Position::ShortWindow => Self::skipped("s", "not counted: too few tokens before it"),
        }
    }

    fn skipped(class: &'static str, title: &str) -> Self {
        Self { class, title: title.to_owned(), is_draw: false, green: false, again: false }
    }

    fn draw(coin: Coin, repeat: Repeat, scheme: &Scheme, (context, at): (&[TokenId], usize)) -> Self {
        // In a mix one part marks a position; of dual arms either may have.
        let (first, window) = scheme.marking(context, at).unwrap_or_default();
        let arms = if scheme.coin().is_some() { &scheme.arms()[first..=first] } else { scheme.arms() };
        let value = |arm: &Arm| arm.law().value(arm.word(&arm.seed(window), coin.token));
        let mean = arms.iter().map(value).sum::<f64>() / to_f64(arms.len() as u64);
        let by_chance = arms.iter().map(|arm| arm.law().mean()).sum::<f64>() / to_f64(arms.len() as u64);
        let green = mean > by_chance;
        let words = match (arms.first().map(Arm::law), green) {
            (Some(Law::Bernoulli(_)), true) => "green".to_owned(),
            (Some(Law::Bernoulli(_)), false) => "not green".to_owned(),
            _ => format!("draw {}, its mean by chance is {}", real(mean, 2), real(by_chance, 2)),
        };
        let window: Vec<String> = window.iter().map(TokenId::to_string).collect();
        let place = format!("token {} after [{}]", coin.token, window.join(" "));
        let again = repeat == Repeat::Again;
        let title = if again {
            format!("{place}: the same draw as before ({words}), not counted again")
        } else {
            format!("{place}: {words}")
        };
        Self {
            class: if again {
                "r"
            } else if green {
                "g"
            } else {
                "p"
            },
            title,
            is_draw: true,
            green,
            again,
        }
    }
}

/// The text that each token adds. Tokens that end inside a character add nothing; the one that completes it adds it.
fn pieces(decode: &dyn Fn(&[TokenId]) -> String, tokens: &[TokenId]) -> Vec<String> {
    let mut before = String::new();
    let piece = |at: usize| {
        let now = decode(&tokens[..=at]);
        if now.ends_with(char::REPLACEMENT_CHARACTER) && at + 1 < tokens.len() {
            return String::new();
        }
        let added = now.strip_prefix(&before).map_or_else(|| decode(&tokens[at..=at]), str::to_owned);
        before = now;
        added
    };
    (0..tokens.len()).map(piece).collect()
}

/// Text with its line ends shown, and without characters that act on other text.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("↵\n"),
            '\t' => shown.push('⇥'),
            c if c.is_control() || is_steering(c) => shown.push_str(&format!("⟨{:04X}⟩", u32::from(c))),
            c => shown.push(c),
        }
    }
    if shown.is_empty() { "·".to_owned() } else { shown }
}

/// Invisible characters: joiners, marks and overrides of direction, byte order marks.
fn is_steering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_characters_are_shown_once() {
        let bytes = ["a".as_bytes(), &"é".as_bytes()[..1], &"é".as_bytes()[1..], b"b"];
        let decode = |tokens: &[TokenId]| {
            let bytes: Vec<u8> =
                tokens.iter().flat_map(|token| bytes[*token as usize].iter().copied()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        assert_eq!(pieces(&decode, &[0, 1, 2, 3]), ["a", "", "é", "b"]);
        assert_eq!(pieces(&decode, &[0, 1]), ["a", "\u{fffd}"]);
    }

    #[test]
    fn nothing_steers_the_text_around_it() {
        assert_eq!(visible("a\u{202e}b\u{0}\n\t"), "a⟨202E⟩b⟨0000⟩↵\n⇥");
        assert_eq!(visible(""), "·");
    }
}
