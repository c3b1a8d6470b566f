//! Rows of next-token probabilities: whole ones, or those of the likeliest tokens, as an interface returns them.
//!
//! A token that was not returned is unknown, never 0. Of the likeliest tokens' rows it is at most as likely as the least
//! that was, which a residual uses; of other lists nothing is known, and it gives no draw. Which tokens are returned is a
//! function of the suspect's own distribution, so under H0 it does not depend on the key, however small K is.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::MaterialError;
use crate::case::plan::{Planned, RowRule, SealedPlan};
use crate::score::{Compared, Row, RowStatistic, Weight};
use crate::token::TokenId;

/// Probabilities are kept as whole multiples of 2⁻¹⁶: what was tested is what is stored, to the last bit.
pub const PROBABILITY_UNIT: f32 = 1.0 / 65_536.0;

/// Rows of one suspect or reference, in the order of the contexts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rows {
    /// Of every token of a vocabulary.
    Whole(Table),
    /// Of the tokens listed.
    Listed(Vec<ListedRow>),
}

/// Tokens at one context, each once, with their probabilities in units of 2⁻¹⁶.
pub type ListedRow = Vec<(TokenId, u16)>;

/// Rows of probabilities over one vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    vocabulary: u32,
    /// Base64 of u16 little-endian multiples of 2⁻¹⁶, row after row.
    rows: String,
}

impl Table {
    /// Packs rows of probabilities.
    ///
    /// Values are rounded to multiples of 2⁻¹⁶; [`Table::rows`] gives back what is stored.
    pub fn pack(vocabulary: u32, rows: impl IntoIterator<Item = impl AsRef<[f32]>>) -> Self {
        let mut bytes = Vec::new();
        for row in rows {
            bytes.extend(row.as_ref().iter().flat_map(|p| stored(*p).to_le_bytes()));
        }
        Self { vocabulary, rows: STANDARD.encode(bytes) }
    }

    /// The rows as they are tested.
    ///
    /// # Errors
    /// Damaged base64, or no whole number of rows.
    pub fn rows(&self) -> Result<Vec<Vec<f32>>, MaterialError> {
        let wrong = || MaterialError::Table(self.vocabulary);
        let bytes = STANDARD.decode(&self.rows).map_err(|_| wrong())?;
        let row_bytes = self.vocabulary as usize * 2;
        if row_bytes == 0 || bytes.len() % row_bytes != 0 {
            return Err(wrong());
        }
        let value = |pair: &[u8]| probability(u16::from_le_bytes([pair[0], pair[1]]));
        Ok(bytes.chunks_exact(row_bytes).map(|row| row.chunks_exact(2).map(value).collect()).collect())
    }
}

/// A probability as it is stored: the nearest multiple of 2⁻¹⁶ below 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=65535 first")]
pub fn stored(probability: f32) -> u16 {
    (probability / PROBABILITY_UNIT).round().clamp(0.0, 65_535.0) as u16
}

/// A stored probability as it is tested.
fn probability(units: u16) -> f32 {
    f32::from(units) * PROBABILITY_UNIT
}

impl Rows {
    /// Some tokens of each row, as they are stored.
    pub fn listed(rows: impl IntoIterator<Item = impl AsRef<[(TokenId, f32)]>>) -> Self {
        let row = |row: &[(TokenId, f32)]| row.iter().map(|(token, p)| (*token, stored(*p))).collect();
        Self::Listed(rows.into_iter().map(|one| row(one.as_ref())).collect())
    }

    /// A reference's whole rows, as far as a residual beside these needs them by `rule`.
    pub fn reference(&self, rule: RowRule, whole: &[Vec<f32>]) -> Self {
        let Self::Listed(rows) = self else {
            let columns = whole.first().map_or(0, Vec::len);
            return Self::Whole(Table::pack(u32::try_from(columns).unwrap_or(u32::MAX), whole));
        };
        let beside = |(q, b): (&ListedRow, &Vec<f32>)| -> ListedRow {
            let of = |token: TokenId| b.get(token as usize).map_or(0, |b| stored(*b));
            let named: ListedRow = q.iter().map(|(token, _)| (*token, of(*token))).collect();
            let least = least(q).filter(|_| matches!(rule, RowRule::Top(_)));
            let likelier =
                |least| (0..).zip(b).map(|(token, b)| (token, stored(*b))).filter(move |(_, b)| *b > least);
            let others = least.into_iter().flat_map(likelier);
            let unnamed = others.filter(|(token, _)| q.iter().all(|(named, _)| named != token));
            named.iter().copied().chain(unnamed).collect()
        };
        Self::Listed(rows.iter().zip(whole).map(beside).collect())
    }

    /// Whether the rows are of the kind, and no longer than, the plan asked for.
    pub(super) fn check(&self, plan: &SealedPlan) -> Result<(), MaterialError> {
        let Planned::Set { value: planned } = plan.plan().pool.rows else {
            return Err(MaterialError::RowKind);
        };
        match (self, planned) {
            (Self::Whole(_), RowRule::Whole) => Ok(()),
            (Self::Listed(rows), RowRule::Known(most) | RowRule::Top(most)) => {
                match rows.iter().position(|row| row.len() > most as usize) {
                    None => Ok(()),
                    Some(row) => Err(MaterialError::RowTooLong { row, tokens: rows[row].len(), most }),
                }
            }
            _ => Err(MaterialError::RowKind),
        }
    }

    /// The rows as they are tested.
    pub(super) fn read(&self) -> Result<Numbers, MaterialError> {
        let row = |row: &ListedRow| row.iter().map(|(token, units)| (*token, probability(*units))).collect();
        Ok(match self {
            Self::Whole(table) => Numbers::Whole(table.rows()?),
            Self::Listed(rows) => Numbers::Listed(rows.iter().map(row).collect()),
        })
    }
}

/// The least probability of a row.
fn least(row: &ListedRow) -> Option<u16> {
    row.iter().map(|(_, units)| *units).min()
}

/// Rows as they are tested.
#[derive(Debug)]
pub(super) enum Numbers {
    Whole(Vec<Vec<f32>>),
    Listed(Vec<Vec<(TokenId, f32)>>),
}

impl Numbers {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole(rows) => rows.len(),
            Self::Listed(rows) => rows.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.len()).map(|at| match self {
            Self::Whole(rows) => Row::Whole(&rows[at]),
            Self::Listed(rows) => Row::Top(&rows[at]),
        })
    }
}

/// What a residual compares in each row.
#[derive(Debug)]
pub(super) enum References {
    /// Every token of both.
    Whole(Vec<Vec<f32>>),
    /// These, with q and b.
    Listed(Vec<Vec<Compared>>),
}

impl References {
    /// The rows `b` beside `q`, which are as the plan's `rule` says.
    ///
    /// # Errors
    /// `b` is not given where `q` is.
    pub(super) fn of(q: &Numbers, b: Numbers, rule: &Planned<RowRule>) -> Result<Self, MaterialError> {
        if q.len() != b.len() {
            return Err(MaterialError::Reference(q.len().min(b.len())));
        }
        let likeliest = matches!(rule, Planned::Set { value: RowRule::Top(_) });
        match (q, b) {
            (Numbers::Whole(_), Numbers::Whole(b)) => Ok(Self::Whole(b)),
            (Numbers::Listed(q), Numbers::Listed(b)) => {
                let row = |(at, (q, b)): (usize, (&Vec<_>, &Vec<_>))| {
                    compared(q, b, likeliest).ok_or(MaterialError::Reference(at))
                };
                q.iter().zip(&b).enumerate().map(row).collect::<Result<_, _>>().map(Self::Listed)
            }
            _ => Err(MaterialError::RowKind),
        }
    }

    /// The residual beside them.
    pub(super) fn residual<'a>(&'a self, weight: Weight<'a>) -> RowStatistic<'a> {
        match self {
            Self::Whole(b) => RowStatistic::Residual(b, weight),
            Self::Listed(pairs) => RowStatistic::ResidualOf(pairs, weight),
        }
    }
}

/// The tokens of `q` with their b; then, of the likeliest, those that b holds for likelier than the least of `q`, at that.
/// None where `b` is not so.
fn compared(q: &[(TokenId, f32)], b: &[(TokenId, f32)], likeliest: bool) -> Option<Vec<Compared>> {
    let (named, others) = b.split_at_checked(q.len())?;
    let same = q.iter().zip(named).all(|((token, _), (other, _))| token == other);
    let pairs = q.iter().zip(named).map(|((token, q), (_, b))| (*token, *q, *b));
    let least = q.iter().map(|(_, q)| *q).reduce(f32::min).filter(|_| likeliest);
    let mut seen: HashSet<TokenId> = q.iter().map(|(token, _)| *token).collect();
    let fit = others.iter().all(|(token, b)| least.is_some_and(|least| *b > least) && seen.insert(*token));
    let others = others.iter().map(|(token, b)| (*token, least.unwrap_or_default(), *b));
    (same && fit).then(|| pairs.chain(others).collect())
}

#[cfg(test)]
mod tests {
    use crate::case::fixture::{self, Draft};
    use crate::case::material::{Content, MaterialError, Rows};
    use crate::case::plan::{Access, Planned, Role, RowRule, Statistic};
    use crate::case::{Analysis, CaseError, Finding, Verdict, analyse};

    fn analysed(draft: &Draft) -> Result<Analysis, CaseError> {
        let plan = draft.plan.clone().seal("2026-11-23T09:00:00Z").unwrap();
        analyse(&plan, &draft.material, None, &draft.keys())
    }

    /// The findings about distributions, with `change` made to the case.
    fn found(change: impl FnOnce(&mut Draft)) -> Vec<Finding> {
        let mut draft = fixture::draft();
        change(&mut draft);
        let findings = analysed(&draft).unwrap().findings;
        findings.into_iter().filter(|finding| finding.access == Access::Distributions).collect()
    }

    fn refused(change: impl FnOnce(&mut Draft)) -> MaterialError {
        let mut draft = fixture::draft();
        change(&mut draft);
        match analysed(&draft).unwrap_err() {
            CaseError::Material { error, .. } => error,
            other => panic!("{other}"),
        }
    }

    fn rows(draft: &mut Draft) -> impl Iterator<Item = (&mut Rows, &mut Option<Rows>)> {
        draft.material.iter_mut().filter_map(|material| match &mut material.content {
            Content::Distributions(rows) => Some((&mut rows.q, &mut rows.b)),
            _ => None,
        })
    }

    fn listed(rows: &mut Rows) -> &mut Vec<super::ListedRow> {
        match rows {
            Rows::Listed(rows) => rows,
            Rows::Whole(_) => panic!("whole rows"),
        }
    }

    #[test]
    fn a_student_is_found_in_its_likeliest_tokens_and_nobody_else() {
        for rule in [RowRule::Top(20), RowRule::Top(5), RowRule::Known(20), RowRule::Known(5)] {
            for finding in found(|draft| draft.listed(rule)) {
                let student = finding.role == Role::Student;
                assert_eq!(finding.verdict == Verdict::EvidenceFound, student, "{rule:?}: {}", finding.test);
                // 40 contexts: what is not known is no draw, whatever the vocabulary.
                if let RowRule::Known(most) = rule {
                    assert!(finding.summary.draws <= 40 * u64::from(most), "{}", finding.summary.draws);
                }
            }
        }
    }

    #[test]
    fn the_whole_vocabulary_as_likeliest_tokens_is_whole_rows() {
        let numbers = |findings: Vec<Finding>| -> Vec<(u64, f64, f64)> {
            findings.iter().map(|f| (f.summary.draws, f.summary.statistic, f.summary.ln_p)).collect()
        };
        assert_eq!(numbers(found(|draft| draft.listed(RowRule::Top(240)))), numbers(found(|_| ())));
    }

    #[test]
    fn baselines_are_tested_under_their_names() {
        let z = |statistic: Statistic, most: Option<u32>| {
            let findings = found(|draft| {
                most.into_iter().for_each(|most| draft.listed(RowRule::Top(most)));
                let tests = draft.plan.tests.iter_mut().filter(|test| test.access == Access::Distributions);
                tests.for_each(|test| test.statistic = statistic);
            });
            findings.iter().find(|finding| finding.role == Role::Student).unwrap().summary.z
        };
        let ours = z(Statistic::Residual, None);
        for baseline in [Statistic::Argmax, Statistic::GreenMass] {
            let z = z(baseline, None);
            assert!(z > 2.0 && z < ours, "{baseline:?}: z = {z}, residual {ours}");
        }
        assert_eq!(z(Statistic::Argmax, Some(1)), z(Statistic::Argmax, None));
    }

    #[test]
    fn rows_that_the_plan_did_not_ask_for_are_refused() {
        let ask = |draft: &mut Draft, rule| draft.plan.pool.rows = Planned::Set { value: rule };
        let longer = refused(|draft| {
            draft.listed(RowRule::Top(20));
            ask(draft, RowRule::Top(19));
        });
        assert_eq!(longer, MaterialError::RowTooLong { row: 0, tokens: 20, most: 19 });
        let partial = refused(|draft| {
            draft.listed(RowRule::Top(20));
            ask(draft, RowRule::Whole);
        });
        assert_eq!(partial, MaterialError::RowKind);
        assert_eq!(refused(|draft| ask(draft, RowRule::Top(20))), MaterialError::RowKind);
        let whole = fixture::draft().material.remove(4).content;
        let mixed = refused(|draft| {
            draft.listed(RowRule::Top(20));
            let Content::Distributions(whole) = &whole else { panic!("distributions") };
            rows(draft).for_each(|(_, b)| b.clone_from(&whole.b));
        });
        assert_eq!(mixed, MaterialError::RowKind);
    }

    #[test]
    fn a_reference_speaks_of_the_suspects_tokens_in_their_order() {
        let refused_beside = |change: fn(&mut Vec<super::ListedRow>)| {
            refused(|draft| {
                draft.listed(RowRule::Top(5));
                rows(draft).for_each(|(_, b)| change(listed(b.as_mut().unwrap())));
            })
        };
        assert_eq!(refused_beside(|b| b[7].swap(0, 1)), MaterialError::Reference(7));
        assert_eq!(refused_beside(|b| b[7][0].0 += 240), MaterialError::Reference(7));
        assert_eq!(refused_beside(|b| drop(b.pop())), MaterialError::Reference(39));
        assert_eq!(refused_beside(|b| b[7].truncate(4)), MaterialError::Reference(7));
        // Other tokens than the suspect's are there once, and likelier than its least.
        assert_eq!(refused_beside(|b| b[7].push((5_000, 0))), MaterialError::Reference(7));
        assert_eq!(
            refused_beside(|b| {
                let twice = b[7][0];
                b[7].push((twice.0, 65_535));
            }),
            MaterialError::Reference(7)
        );
        let mut draft = fixture::draft();
        draft.listed(RowRule::Top(5));
        for (q, b) in rows(&mut draft) {
            for rows in [listed(q), listed(b.as_mut().unwrap())] {
                rows[0][1] = rows[0][0];
            }
        }
        assert!(analysed(&draft).unwrap_err().to_string().contains("a token stands in it twice"));
    }

    #[test]
    fn what_the_likeliest_lack_is_compared_by_their_least_and_what_is_merely_known_is_not() {
        let (q, b) = ([(2, 0.6), (0, 0.2)], [(2, 0.15), (0, 0.4), (1, 0.3)]);
        let pairs = super::compared(&q, &b, true).unwrap();
        assert_eq!(pairs, [(2, 0.6, 0.15), (0, 0.2, 0.4), (1, 0.2, 0.3)]);
        assert_eq!(super::compared(&q, &b, false), None);
        assert_eq!(super::compared(&q, &b[..2], false).unwrap(), pairs[..2]);
        assert_eq!(super::compared(&[], &[(1, 0.3)], true), None);
        let whole = vec![vec![0.4, 0.3, 0.15, 0.1, 0.05]];
        let rows = Rows::listed([&q[..]]);
        assert_eq!(rows.reference(RowRule::Top(2), &whole), Rows::listed([&b[..]]));
        assert_eq!(rows.reference(RowRule::Known(2), &whole), Rows::listed([&b[..2]]));
    }

    #[test]
    fn a_test_of_distributions_says_how_much_of_them() {
        let sealed = |rule| {
            let mut plan = fixture::draft().plan;
            plan.pool.rows = rule;
            plan.seal("2026-11-23T09:00:00Z").map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(sealed(Planned::Set { value: RowRule::Top(1) }), Ok(()));
        assert!(sealed(Planned::absent("forgotten")).unwrap_err().contains("needs the field rows"));
        assert!(sealed(Planned::Set { value: RowRule::Top(0) }).unwrap_err().contains("0 tokens"));
    }
}
