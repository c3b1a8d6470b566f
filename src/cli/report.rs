//! A bundle's page for people, as the demo and `taggant case report` write it.

use taggant_model::tokenizer::Tokenizer;

use super::Failure;
use crate::case::bundle::Bundle;
use crate::case::decoys::{Decoys, decoys};
use crate::case::plan::{Access, SealedPlan};
use crate::case::report::{Input, render};
use crate::token::TokenId;

/// Decoy keys for the histograms of one test: a check, never a verdict.
pub(super) const DECOYS: u32 = 300;

/// What a page is made from beside the bundle.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    pub(super) bundle_file: &'a str,
    /// Token ids are printed where there is none.
    pub(super) tokenizer: Option<&'a Tokenizer>,
    /// Decoy keys a test; none makes no histogram.
    pub(super) decoys: u32,
    pub(super) notes: &'a [String],
}

impl Page<'_> {
    pub(super) fn html(&self, plan: &SealedPlan, bundle: &Bundle) -> Result<String, Failure> {
        let ids = |tokens: &[TokenId]| format!("{tokens:?}");
        let decode = |tokens: &[TokenId]| {
            let text = self.tokenizer.and_then(|tokenizer| tokenizer.decode(tokens).ok());
            text.unwrap_or_else(|| ids(tokens))
        };
        Ok(render(&Input {
            title: self.title,
            bundle,
            bundle_file: self.bundle_file,
            decoys: &self.decoys(plan, bundle)?,
            decode: &decode,
            notes: self.notes,
        }))
    }

    /// Of the registered tests of text that found a draw.
    fn decoys(&self, plan: &SealedPlan, bundle: &Bundle) -> Result<Vec<Decoys>, Failure> {
        let drew = |name: &str| {
            bundle
                .analysis
                .findings()
                .iter()
                .any(|finding| finding.test() == name && finding.summary().draws > 0)
        };
        let tests = plan.tests().iter().filter(|test| {
            self.decoys > 0 && test.access == Access::Text && test.role.is_registered() && drew(&test.name)
        });
        Ok(tests.map(|test| decoys(plan, &bundle.material, test, self.decoys)).collect::<Result<_, _>>()?)
    }
}
