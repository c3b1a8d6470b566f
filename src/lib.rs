//! Taggant.
