//! Times of day, as they are stored and told.

use chrono::{DateTime, SecondsFormat, Utc};

/// Now.
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    now().timestamp_millis()
}

/// In UTC as RFC 3339 writes it, with six digits of a second, so that text sorts as time does.
pub fn exactly(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// In UTC as RFC 3339 writes it, in whole seconds.
pub fn in_seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The same of milliseconds since 1970, with them.
pub fn of_ms(milliseconds: i64) -> String {
    DateTime::from_timestamp_millis(milliseconds)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}
