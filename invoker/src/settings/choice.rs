//! Values that are one of a few words.

use std::ffi::{OsStr, OsString};
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error};

use super::error::{SettingsError, Wrong};
use super::kind::{FlagKind, Kind};
use super::variables::Variables;

/// A value that is one of a few words.
pub(super) trait Choice: Copy + Eq + 'static {
    /// Noun for the values, in messages.
    const WHAT: &'static str;
    /// The value's name in the help.
    const NAME: &'static str;
    /// An example of a word, in quotes.
    const EXAMPLE: &'static str;
    /// Each value and its word.
    const WORDS: &'static [(Self, &'static str)];
}

/// A text is none of the words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}; name {words}")]
pub(super) struct ChoiceError {
    text: String,
    what: &'static str,
    words: String,
}

/// The kind of such values.
pub(super) struct OneOf<C>(PhantomData<C>);

impl<C: Choice> OneOf<C> {
    fn parse(text: &str) -> Result<C, ChoiceError> {
        let text = text.trim();
        let known = C::WORDS.iter().find(|(_, word)| *word == text);
        known.map(|(value, _)| *value).ok_or_else(|| {
            let words: Vec<_> = C::WORDS.iter().map(|(_, word)| *word).collect();
            let (last, others) = words.split_last().unwrap_or((&"", &[]));
            let words = format!("{} or {last}", others.join(", "));
            ChoiceError { text: text.to_owned(), what: C::WHAT, words }
        })
    }

    fn word(value: C) -> &'static str {
        C::WORDS.iter().find(|(one, _)| *one == value).map_or("", |(_, word)| word)
    }
}

impl<C: Choice> Kind for OneOf<C> {
    type Said = C;
    type Value = C;

    const EXAMPLE: &'static str = C::EXAMPLE;
    const IS_QUOTED: bool = true;

    fn read_file<'de, D: Deserializer<'de>>(from: D) -> Result<C, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    fn settle(said: C, _: &Variables) -> Result<C, SettingsError> {
        Ok(said)
    }

    fn write(value: &C) -> Option<OsString> {
        Some(Self::word(*value).into())
    }
}

impl<C: Choice> FlagKind for OneOf<C> {
    const NAME: &'static str = C::NAME;

    fn read(text: &OsStr) -> Result<C, Wrong> {
        Ok(Self::parse(&text.to_string_lossy())?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Eviction, LogLevel};
    use super::*;

    fn come_back<C: Choice + std::fmt::Debug>() {
        for (value, word) in C::WORDS {
            assert_eq!(OneOf::<C>::parse(&format!(" {word} ")), Ok(*value));
            assert_eq!(OneOf::<C>::write(value), Some(OsString::from(word)));
        }
        assert!(OneOf::<C>::parse("").is_err());
        assert!(C::EXAMPLE.trim_matches('"').len() + 2 == C::EXAMPLE.len());
    }

    #[test]
    fn words_come_back_and_others_are_refused() {
        come_back::<Eviction>();
        come_back::<LogLevel>();
        let error = OneOf::<LogLevel>::parse("loud").unwrap_err().to_string();
        assert_eq!(error, "`loud` is no level of the log; name error, warn, info or debug");
        let error = OneOf::<Eviction>::parse("fifo").unwrap_err().to_string();
        assert_eq!(error, "`fifo` is no policy of eviction; name lru or greedy-dual");
    }
}
