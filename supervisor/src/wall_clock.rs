//! Times of day, in the forms that are stored and told.

use chrono::{DateTime, SecondsFormat, Utc};

/// The current time.
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The current time, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    now().timestamp_millis()
}

/// A time in UTC as RFC 3339 writes it, with six digits of a second, so that texts sort by time.
pub fn exactly(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A time in UTC as RFC 3339 writes it, in whole seconds.
pub fn in_seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A time given in milliseconds since 1970, in UTC as RFC 3339 writes it, with milliseconds.
pub fn of_ms(milliseconds: i64) -> String {
    DateTime::from_timestamp_millis(milliseconds)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}
