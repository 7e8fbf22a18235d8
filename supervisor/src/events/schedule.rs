//! Times at which functions run by themselves, as pure functions.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::Cron;

/// A text is no schedule.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is no schedule: {reason}; write a cron expression, such as \"*/5 * * * *\", with a \
     sixth field ahead for seconds, or such as @hourly"
)]
pub struct ScheduleError {
    text: String,
    reason: String,
}

/// A cron expression, in UTC.
#[derive(Debug, Clone)]
pub struct Schedule(Cron);

impl Schedule {
    /// Reads five fields, or six with seconds first, or a name such as `@hourly`.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let failed = |reason: String| ScheduleError { text: text.to_owned(), reason };
        let schedule = Self(Cron::from_str(text).map_err(|error| failed(error.to_string()))?);
        if schedule.next(DateTime::UNIX_EPOCH).is_none() {
            return Err(failed("it never comes".to_owned()));
        }
        Ok(schedule)
    }

    /// First time of the schedule after this one.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.find_next_occurrence(&after, false).ok()
    }
}

/// First time of any of these schedules after this one.
pub fn next_run(schedules: &[String], after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let read = schedules.iter().filter_map(|text| Schedule::parse(text).ok());
    read.filter_map(|schedule| schedule.next(after)).min()
}

/// The schedules of all functions, each with its next time.
#[derive(Debug, Default)]
pub struct Timetable(Vec<Row>);

#[derive(Debug)]
struct Row {
    function: String,
    text: String,
    schedule: Schedule,
    next: DateTime<Utc>,
}

impl Timetable {
    /// Follows the schedules that functions have now. Schedules that were there keep their next time;
    /// new ones begin `now`.
    pub fn follow(&mut self, functions: &[(String, Vec<String>)], now: DateTime<Utc>) {
        let old = std::mem::take(&mut self.0);
        for (function, schedules) in functions {
            for text in schedules {
                let known = old.iter().find(|row| row.function == *function && row.text == *text);
                let row = known.map(|row| (row.schedule.clone(), Some(row.next)));
                let row = row.or_else(|| {
                    let schedule = Schedule::parse(text).ok()?;
                    let next = schedule.next(now);
                    Some((schedule, next))
                });
                if let Some((schedule, Some(next))) = row {
                    let (function, text) = (function.clone(), text.clone());
                    self.0.push(Row { function, text, schedule, next });
                }
            }
        }
    }

    /// Takes what is due: the function, its schedule and the time. A schedule with several past times
    /// is due once, with the first of them.
    pub fn due(&mut self, now: DateTime<Utc>) -> Vec<(String, String, DateTime<Utc>)> {
        let mut due = Vec::new();
        self.0.retain_mut(|row| {
            if row.next > now {
                return true;
            }
            due.push((row.function.clone(), row.text.clone(), row.next));
            let next = row.schedule.next(now);
            row.next = next.unwrap_or(row.next);
            next.is_some()
        });
        due
    }

    /// Next time of any schedule.
    pub fn next(&self) -> Option<DateTime<Utc>> {
        self.0.iter().map(|row| row.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn expressions_are_in_utc_with_and_without_seconds() {
        for (text, next) in [
            ("*/5 * * * *", "2026-01-01T00:05:00Z"),
            ("30 4 * * MON-FRI", "2026-01-01T04:30:00Z"),
            ("*/10 * * * * *", "2026-01-01T00:00:20Z"),
            ("@hourly", "2026-01-01T01:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ] {
            let next = at(next);
            assert_eq!(
                Schedule::parse(text).unwrap().next(at("2026-01-01T00:00:10.5Z")),
                Some(next)
            );
        }
        for text in ["", "* * * *", "61 * * * *", "every day", "0 0 31 2 *", "@sometimes"] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.to_string().contains("is no schedule"), "{error}");
        }
        let both = ["@hourly".to_owned(), "*/5 * * * *".to_owned()];
        let next = next_run(&both, at("2026-01-01T00:00:00Z"));
        assert_eq!(next, Some(at("2026-01-01T00:05:00Z")));
    }

    #[test]
    fn each_time_is_due_once_and_what_was_missed_is_not_made_up() {
        let mut table = Timetable::default();
        let functions = |text: &str| vec![("f".to_owned(), vec![text.to_owned()])];
        table.follow(&functions("0 * * * *"), at("2026-01-01T00:30:00Z"));
        assert_eq!(table.next(), Some(at("2026-01-01T01:00:00Z")));
        assert!(table.due(at("2026-01-01T00:59:59Z")).is_empty());
        // Other functions' changes lose no time of this schedule.
        table.follow(&functions("0 * * * *"), at("2026-01-01T01:00:00.1Z"));
        let due = table.due(at("2026-01-01T01:00:00.2Z"));
        assert_eq!((due.len(), due[0].2), (1, at("2026-01-01T01:00:00Z")));
        assert!(table.due(at("2026-01-01T01:00:00.3Z")).is_empty());
        assert_eq!(table.due(at("2026-01-01T09:30:00Z")).len(), 1);
        assert_eq!(table.next(), Some(at("2026-01-01T10:00:00Z")));
        table.follow(&functions("30 * * * *"), at("2026-01-01T10:10:00Z"));
        assert_eq!(table.next(), Some(at("2026-01-01T10:30:00Z")));
        table.follow(&[], at("2026-01-01T10:10:00Z"));
        assert_eq!(table.next(), None);
    }
}
