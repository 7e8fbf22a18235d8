//! Makes an event of each time that a schedule names.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pipsqueak::wire::EventOrigin;
use serde_json::json;

use super::Later;
use crate::events::Timetable;
use crate::wall_clock;

/// Longest time between two looks at the time of day, which may be set meanwhile.
const MAX_SLEEP: Duration = Duration::from_secs(30);

impl Later {
    /// Follows the schedules of all functions until the supervisor stops. Times before this call are
    /// not made up for.
    pub async fn follow_schedules(self: Arc<Self>) {
        let mut ending = self.ending.clone();
        let mut table = Timetable::default();
        loop {
            let functions = self.functions.list();
            let schedules = functions.iter().map(|function| &function.info);
            let schedules = schedules.filter(|info| !info.schedules.is_empty());
            let schedules: Vec<_> =
                schedules.map(|info| (info.name.clone(), info.schedules.clone())).collect();
            table.follow(&schedules, wall_clock::now());
            for (function, schedule, time) in table.due(wall_clock::now()) {
                self.enter(&function, &schedule, time).await;
            }
            let until = table.next().map(|next| (next - wall_clock::now()).to_std());
            // A time that has passed meanwhile gives an error here, and is due at once.
            let sleep = until.map_or(MAX_SLEEP, |until| until.unwrap_or_default().min(MAX_SLEEP));
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.events.rescheduled() => {}
                _ = ending.wait_for(Option::is_some) => return,
            }
        }
    }

    async fn enter(&self, function: &str, schedule: &str, time: DateTime<Utc>) {
        let id = self.request_ids.draw();
        // The form of Amazon's EventBridge.
        let event = json!({
            "version": "0",
            "id": id,
            "source": "pipsqueak.schedule",
            "detail-type": "Scheduled Event",
            "time": wall_clock::in_seconds(time),
            "resources": [schedule],
            "detail": {},
        });
        let origin = EventOrigin::Schedule;
        let accepted = self.events.accept(id, function.to_owned(), origin, event.to_string());
        if let Err(error) = accepted.await {
            tracing::error!(%error, function, schedule, "a scheduled event is lost");
        }
    }
}
