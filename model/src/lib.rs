//! Models for Taggant.
