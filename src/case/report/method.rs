//! How the numbers come about, in plain words and formulas; and what the words mean.

use maud::{Markup, html};

use super::View;
use super::detail::{method, statistic};
use super::number::{probability, rate};
use crate::case::plan::{Access, Planned, RowRule, Statistic};
use crate::scheme::Spec;
use crate::stat::math::ln;
use crate::stat::verdict::TailMethod;

pub(super) fn section(view: &View<'_>) -> Markup {
    html! {
        section {
            h2 { "Method" }
            h3 { "What the key did" }
            @if view.has_marks() { (the_mark(view)) }
            @if view.has_canaries() { (super::canaries::what_the_key_did(view)) }
            h3 { "Draws" }
            (the_draws(view))
            h3 { "Why the null is exact" }
            (the_null())
            h3 { "From draws to a verdict" }
            (the_verdict(view))
        }
    }
}

fn the_mark(view: &View<'_>) -> Markup {
    let specs = view.plan.specs();
    html! {
        @for spec in &specs { (the_mark_of(*spec)) }
        @if view.plan.tests.iter().any(|test| test.keys.len() > 1) { p {
            "Some tests name several keys. Keys are unrelated, so the draws under each of them are fresh chance, even where they are read "
            "off the same text, and they enter one sum. A key's coefficients are multiplied by the weight that the plan gives it; then those of "
            "all keys are rounded by one scale."
        } }
    }
}

fn the_mark_of(spec: Spec) -> Markup {
    let width = spec.width();
    html! {
        p {
            "Marked answers were written by scheme " code { (spec) } ". For each " em { "window" } " of "
            @if let Spec::Mix(_) = spec { "up to " }
            (width)
            @if width.tokens() == 1 { " preceding token" } @else { " preceding tokens" } ", a secret key makes a seed (HMAC-SHA256), the seed a keystream (ChaCha20), and each token of the "
            "vocabulary owns a few bits of it. "
            (the_scheme(spec))
        }
    }
}

/// What the scheme made of a token's bits.
fn the_scheme(spec: Spec) -> Markup {
    match spec {
        Spec::Green(parameters) => html! {
            "A token is " em { "green" } " where they are below " (parameters.gamma.threshold()) " of 2" sup { (parameters.gamma.bits()) }
            ": a share of exactly " (rate(parameters.gamma.value(), spec.law())) ". While the answers were served, green tokens were made "
            "somewhat more probable."
        },
        Spec::Gumbel(_) => html! {
            "These bits are a random number U, and the token served had won a race: the largest ln(U)/p. The draw is "
            "X = −ln(1 − U). Its mean is 1 by chance, and more for tokens that won."
        },
        Spec::Tournament(parameters) => html! {
            (parameters.depth.get()) " of these bits are the layers of a tournament, and the token served had won it: at each layer a token whose "
            "bit is 1 beats one whose bit is 0. The draw X is the number of ones. By chance each bit is a fair coin, so X has the law "
            "Binomial(" (parameters.depth.get()) ", ½), and more for tokens that won."
        },
        Spec::Mix(parameters) => html! {
            "A coin of its own key, tossed for the widest window, says which of two marks a position carries: " (parameters.share) " of 256 carry "
            "the first, the rest the second. Positions are counted for the part that the coin gives them, under that part's key; the three keys "
            "are unrelated, so this choice leaves the law of the draws as it is. "
            @for (part, name) in parameters.parts.into_iter().zip(["First part", "Second part"]) {
                strong { (name) } " (" code { (part.spec()) } "): " (the_scheme(part.spec())) " "
            }
        },
        Spec::Payload(_) => html! {
            "Each account has one fair bit for each token, and tokens whose bit is 1 were made somewhat more probable for the account that was answered."
        },
    }
}

fn the_draws(view: &View<'_>) -> Markup {
    let mut used: Vec<Statistic> = Vec::new();
    for test in &view.plan.tests {
        if !used.contains(&test.statistic) {
            used.push(test.statistic);
        }
    }
    html! {
        @if view.has_canaries() {
            p {
                "One slot of canaries is one " em { "draw" } " X: the key picked one of its siblings, once. However often the slot is "
                "probed, its answers become one list of whole-number scores f(1), …, f(K), made without the pick J, and X = f(J)."
            }
        }
        @if view.has_marks() { p {
            "One (window, token) is one " em { "draw" } " X: one coin that the key tossed. Where it turns up again it is the same "
            "coin and is not counted as another."
        } }
        p { "The statistic is a sum over distinct draws with whole-number coefficients that were fixed before the key was touched:" }
        p.formula { i { "S" } " = Σ " i { "a" } sub { "i" } " " i { "X" } sub { "i" } }
        ul { @for used in &used { li { strong { (statistic(*used)) } ": " (coefficient(*used)) } } }
        @match view.plan.pool.rows {
            Planned::Set { value: RowRule::Top(most) } => p {
                "Of each distribution at most the " (most) " likeliest tokens were asked for, as interfaces give them. The others are not taken "
                "for 0: they are at most as likely as the least of those, and enter at that where the reference holds them for likelier."
            },
            Planned::Set { value: RowRule::Known(most) } => p {
                "Of each distribution at most " (most) " tokens are known. Of the others nothing is, and they give no draws."
            },
            Planned::Absent { .. } | Planned::Set { value: RowRule::Whole } => {}
        }
        @if let Planned::Set { value } = &view.plan.exposure {
            p { "Windows of residuals are weighed by how often they occur in " (value) ", which the scored key did not mark: log(1 + e) "
                "for text; for distributions e/(e + 20), or √e at widths of 2 and more." }
        }
        @if view.has_marks() { p { "Not counted, and listed by rule below: repeats, windows that are too short or lie inside a prompt of unknown origin, and "
            "exchanges whose input may itself be marked." } }
    }
}

fn coefficient(statistic: Statistic) -> &'static str {
    match statistic {
        Statistic::Argmax => {
            "a = 1 for each distinct window with the token that the suspect holds likeliest after it."
        }
        Statistic::CanaryCounts | Statistic::CanaryMetered => {
            "X = f(J), J the sibling picked and f(k) the number of the slot's answers that name sibling k."
        }
        Statistic::CanaryFirst => "X = 1 where the slot's first answer names the sibling picked, else 0.",
        Statistic::CanaryLikelihood => {
            "X = f(J), f(k) = ln(1 − ε + εKq(k)), q the shares of how much each sibling stands out in its slot by the suspect's \
             log-probabilities, against its other siblings and against the same text in other slots; ε = 0.05."
        }
        Statistic::LikelihoodRoute => {
            "As both halves of a route, with the sibling that stands out most by log-probabilities as a slot's one answer."
        }
        Statistic::TwinRank => {
            "X = m + 1 − 2r, r the rank of the served one among the slot's m twins by ln p a character, less the reference's where there \
             is one; ties rank it last."
        }
        Statistic::CanaryRoute => {
            "X as for first answers, on slots that only the accounts under suspicion were to be served; and the hypergeometric tail of \
             their hits against those on slots that ordinary accounts were to be served. The larger p of both halves counts."
        }
        Statistic::CanaryRemembered => {
            "X = f(J), f(k) = ln(1 − ε + εL), L the likelihood ratio of a suspect that remembers sibling k and gives it in half \
             of its answers, against what it answers in general; ε = 0.05."
        }
        Statistic::Distinct => "a = 1 for each distinct draw in the suspect's answers.",
        Statistic::GreenMass => {
            "a = Σ q, the probability that the suspect gives the token after the window, summed over the contexts."
        }
        Statistic::ReadingMass => {
            "a = q, the probability that the suspect gives the token, fixed before the window's draws are opened; each window once."
        }
        Statistic::Residual => {
            "a = Σ (q − b)/√(q + b), q the suspect's and b the reference's probability of the token after the window, summed over \
             the window's contexts and scaled so that frequent windows do not dominate."
        }
        Statistic::RootCount => "a = √n for a draw that the suspect's answers show n times.",
        Statistic::TextResidual => {
            "a = (n − Nb)/(1 + 0.03 Nb), n how often the suspect's answers show the token after the window, Nb how often the \
             reference expected it there: its probabilities summed over those contexts, for every token of the vocabulary."
        }
    }
}

fn the_null() -> Markup {
    html! {
        p {
            "H0 says that the suspect has nothing to do with the key. Its answers, the prompts, the coefficients and their order are "
            "then all fixed without the key, and what the key adds is fresh chance: every X has its stated law whatever the language, "
            "the topic or the habits of the model, because the law is not a model of language but a property of the key. So P(S ≥ s) "
            "has one value, and it is computed, or bounded from above; never simulated or approximated. What would break it: prompts or coefficients that were "
            "made from marked text, material chosen for how it scores, a key chosen for how it fits, one coin counted twice."
        }
    }
}

fn the_verdict(view: &View<'_>) -> Markup {
    let mut methods: Vec<TailMethod> = Vec::new();
    for finding in view.findings() {
        if !methods.contains(&finding.summary.method) {
            methods.push(finding.summary.method);
        }
    }
    let reading = view.findings().iter().any(|finding| finding.access == Access::Reading);
    let shares: Vec<String> = view.plan.shares.iter().map(f64::to_string).collect();
    let sparse = methods.contains(&TailMethod::EProcess) && view.plan.shares != [1.0];
    html! {
        p {
            "p = P(S ≥ s under H0). Which tail is used follows from the type of the draws, never from which number is smaller; here: "
            (methods.iter().map(|used| method(*used)).collect::<Vec<_>>().join(", ")) ". All of it is computed as logarithms, because such numbers "
            "are smaller than a computer's reals."
        }
        p {
            "The e-value is betting money. For each bet λ it is multiplied, answer by answer, by"
        }
        p.formula { "exp( λ " i { "S" } sub { "answer" } " − Σ ln E e" sup { "λaX" } " )" }
        p {
            "which has mean 1 under H0, and the bets of the plan's grid are averaged. It may be watched while it grows: "
            "p = min(1, 1/max e) holds whenever one stops. "
            @if reading {
                "When the suspect reads marked text (access “reading”), what it read depends on the key; there, each prediction is fixed "
                "before its draws are opened, each window is used once, and the e-value alone is the verdict."
            }
            @if sparse { " Because a suspect may remember few windows or slots and of the others nothing, bets are also placed on a share ε of them: each "
                "window's or slot's factor is then 1 − ε + ε times the above, for ε = " (shares.join(", ")) ", all with the same stake." }
        }
        p {
            strong { "Evidence found" } ": p ≤ α = " (probability(ln(view.plan.level()))) " after Holm's correction over all registered "
            "tests, and no negative control of the same access at p ≤ 0.01/m. " strong { "No evidence" } ": p > α, and a power of at "
            "least 90 % for the effect named in the plan. " strong { "Inconclusive" } ": everything else."
        }
    }
}

pub(super) fn glossary() -> Markup {
    html! {
        section {
            h2 { "Glossary" }
            dl { @for (word, meaning) in GLOSSARY { dt { (word) } dd { (meaning) } } }
        }
    }
}

const GLOSSARY: &[(&str, &str)] = &[
    ("α", "The level: the largest probability, fixed beforehand, with which a test may accuse an innocent."),
    ("beacon", "A public source of random numbers that nobody could know or choose in advance."),
    (
        "bundle",
        "One file with the plan, the raw answers, the opened keys and all results, from which anyone can recompute them.",
    ),
    ("decoy key", "A key that marked nothing, scored like the real one to see what chance looks like."),
    (
        "draw",
        "One random decision of the key about one token after one window. The same decision met again is the same draw.",
    ),
    (
        "e-value",
        "What a stake of 1 has become by betting against chance at fair odds. 1,000,000 gives p = 10⁻⁶, whenever one stops.",
    ),
    ("epoch", "The period of service for which one key holds."),
    (
        "genesis",
        "A list of commitments to all keys, made before service, so that no key can be invented afterwards.",
    ),
    ("green", "On the side that the key favoured when the marked answers were written."),
    (
        "H0",
        "The null hypothesis: the suspect, and everything that entered the test, has nothing to do with the key.",
    ),
    (
        "innocent",
        "A model that cannot have seen a marked answer, for instance because it is older than the mark.",
    ),
    ("interval", "The range in which the rate lies with 95 % confidence, treating each answer as one unit."),
    (
        "p",
        "The probability that chance alone gives agreement at least this strong. Not the probability of innocence.",
    ),
    (
        "sealed plan",
        "Every choice that could change a number, written down and hashed before the first probe.",
    ),
    (
        "token, window",
        "The unit in which a language model reads and writes; the few tokens before a position.",
    ),
];
