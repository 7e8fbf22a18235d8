//! Times as people write them: a number of seconds, such as `300` or `0.5`.

use std::time::Duration;

/// A text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no time; write a number of seconds, such as 300 or 0.5")]
pub struct SecondsError {
    text: String,
}

/// Reads a time of whole milliseconds that fit into 64 bits.
pub fn parse(text: &str) -> Result<Duration, SecondsError> {
    let read = text.trim().parse().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
    read.filter(|time| u64::try_from(time.as_millis()).is_ok())
        .ok_or_else(|| SecondsError { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_what_is_none_is_refused() {
        assert_eq!(parse("300"), Ok(Duration::from_secs(300)));
        assert_eq!(parse(" 0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        for text in ["", "-1", "nan", "inf", "1e300", "5m"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
