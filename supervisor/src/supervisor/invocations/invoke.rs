//! The path of an invocation: its turn, its start, its handler, and the work that is left after the reply.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pipsqueak::wire::{Fault, Invocation, Outcome, Progress, Tier};
use serde_json::value::RawValue;
use tokio::sync::mpsc::UnboundedSender;

use super::Invocations;
use super::asked::{Asked, check_length};
use super::paused::Place;
use super::prepare::Prepared;
use super::start::Obtained;
use super::turn::Serving;
use crate::admission::{Turn, Vacated};
use crate::deployment::Function;
use crate::environment::Tree;
use crate::fault::internal;
use crate::instance::{Answered, Instance, Origin, Reached, Streams};
use crate::logs::{Recording, Report};
use crate::sync::lock;
use crate::zygote::Zygote;

/// Most characters that are recorded of the reason that a handler did not load.
const MOST_REASON: usize = 500;

/// Work that is left of an invocation after its reply.
#[derive(Debug)]
pub struct Kept {
    function: Arc<Function>,
    /// Place of the instance in the paused tier, if it is kept.
    place: Option<Place>,
    /// True if the imports of the instance tell what its function imports.
    tells: bool,
    tier: Tier,
    tree: Arc<Tree>,
    zygote: Option<(u64, Weak<Zygote>)>,
    imported: Vec<String>,
}

/// An invocation that has its turn and an instance.
struct Begun {
    function: Arc<Function>,
    turn: Turn<Serving>,
    obtained: Obtained,
    prepared: Prepared,
    /// The end of its wait.
    at: Instant,
}

/// What an instance is asked.
struct Call<'a> {
    request_id: &'a str,
    payload: &'a RawValue,
    streams: Option<Streams>,
}

impl Invocations {
    /// Runs a function once: queue, start, handler. The caller must give the returned [`Kept`] to
    /// [`Self::settle`] after the reply is sent.
    pub async fn invoke(
        &self,
        name: &str,
        payload: &RawValue,
        asked: Asked<'_>,
        progress: &UnboundedSender<Progress>,
    ) -> Result<(Invocation, Kept), Fault> {
        let (arrived, request_id) = (asked.arrived, asked.request_id.clone());
        // Before there is anything to wait for: one that is removed meanwhile gets no new one.
        let known = self.functions.get(name)?;
        let log = self.journal.of(name);
        let Begun { function, turn, obtained, prepared, at } =
            self.begin(&known, payload, &asked, progress).await?;
        let queue_us = micros((at - arrived).saturating_sub(prepared.took));
        let (request, sandbox) = (request_id.as_str(), obtained.instance.sandbox().id());
        tracing::debug!(request, function = name, sandbox, queue_us, tier = ?obtained.tier, "asked");
        let recording = self.journal.record(&log, function.info.version, &request_id);
        let call = Call { request_id: &request_id, payload, streams: asked.streams };
        let (obtained, mut answered) =
            self.run(&turn, &prepared, obtained, call, recording).await?;
        *lock(&self.starts).entry(obtained.tier).or_default() += 1;
        let total_us = micros(arrived.elapsed());
        end_recording(&mut answered, obtained.tier, &function);
        let (run_us, outcome) = (answered.run_us, answered.outcome);
        let (request, sandbox) = (request_id.as_str(), obtained.instance.sandbox().id());
        tracing::debug!(request, function = name, sandbox, run_us, ?outcome, "answered");
        let (result, error) = match answered.result {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        let invocation = Invocation {
            result,
            error,
            outcome,
            tier: obtained.tier,
            queue_us,
            start_us: total_us.saturating_sub(queue_us).saturating_sub(run_us),
            run_us,
            total_us,
            logs: answered.logs,
            request_id,
        };
        let ran = Duration::from_micros(run_us);
        // One that a limit has ended tells how long it was let run, not how long the next runs.
        let is_whole = outcome != Outcome::Refused;
        let again = prepared.again();
        drop(prepared);
        Ok((invocation, self.keep(function, turn, obtained, again, ran, is_whole)))
    }

    /// Waits for the environment and the turn of a function, and obtains an instance.
    async fn begin(
        &self,
        known: &Arc<Function>,
        payload: &RawValue,
        asked: &Asked<'_>,
        progress: &UnboundedSender<Progress>,
    ) -> Result<Begun, Fault> {
        let mut prepared = Prepared::default();
        if !self.environments.is_at_hand(known) {
            check_length(known, payload)?;
            prepared = self.prepare(known, asked, Duration::ZERO, progress).await?;
        }
        let name = &known.info.name;
        loop {
            let (function, turn) = self.admit(name, payload, asked, prepared.took).await?;
            let at = Instant::now();
            if let Some(obtained) =
                self.serve(&turn, &function, &prepared, &asked.request_id).await?
            {
                return Ok(Begun { function, turn, obtained, prepared, at });
            }
            // Another version was deployed meanwhile, or each start makes its own.
            drop(turn);
            prepared = self.prepare(&function, asked, prepared.took, progress).await?;
        }
    }

    /// Ends the turn of an instance that has answered, and keeps the instance: ahead of the reply, so that
    /// the client's next request finds it. `again` is the time that a next start takes besides; `is_whole` if
    /// the handler `ran` to its end.
    fn keep(
        &self,
        function: Arc<Function>,
        turn: Turn<Serving>,
        obtained: Obtained,
        again: Duration,
        ran: Duration,
        is_whole: bool,
    ) -> Kept {
        let Obtained { instance, tier, tree, zygote, began, before } = obtained;
        let is_new = tier != Tier::Paused;
        let start = is_new.then(|| (began.elapsed() + again).saturating_sub(ran));
        if self.settings.tiers.zygote && is_new {
            // Ahead of the reply: the client can see that there is more to come.
            self.zygotes.announce();
        }
        let imported = if is_new { instance.take_imported() } else { Vec::new() };
        // What a standby has imported ahead says nothing of what its function imports.
        let tells = instance.is_fit() && instance.origin() != Origin::Standby;
        drop(instance);
        let mut place = None;
        let vacated = turn.end(is_whole.then_some(ran));
        if let Some(Serving { instance, tree }) = vacated.as_ref().and_then(Vacated::take)
            && self.keeps(&instance)
        {
            place = Some(self.paused.keep(instance.pause(tree), start, before));
        }
        Kept { function, place, tells, tier, tree, zygote, imported }
    }

    /// Runs the handler in the obtained instance. If the handler does not load in a zygote's child,
    /// nothing of it has run, and it is tried once in an interpreter of its own. If the process had
    /// ended before it read the invocation, it is tried once in another process.
    async fn run(
        &self,
        turn: &Turn<Serving>,
        prepared: &Prepared,
        mut obtained: Obtained,
        mut call: Call<'_>,
        mut recording: Recording,
    ) -> Result<(Obtained, Answered), Fault> {
        let mut was_lost = false;
        loop {
            let Obtained { instance, tier, .. } = &obtained;
            let noted = self.note_running(instance);
            instance.share_processors(turn.sharers()).map_err(internal)?;
            let Call { request_id, payload, streams } = &mut call;
            let answered = instance.invoke(request_id, payload, recording, streams.as_mut()).await;
            let mut answered = answered.map_err(internal)?;
            drop(noted);
            let (false, Err(error)) = (answered.reached == Reached::Handler, &answered.result)
            else {
                note_loaded(instance, *tier, &mut answered);
                return Ok((obtained, answered));
            };
            let reason = if answered.reached == Reached::Order {
                error.error_message.clone()
            } else {
                format!("{}: {}", error.error_type, error.error_message)
            };
            let is_tried_again = match answered.reached {
                // Whoever has killed it may do so again.
                Reached::Nobody => !std::mem::replace(&mut was_lost, true),
                reached => note_unloaded(instance, reached, &reason),
            };
            let Some(mut again) = answered.recording.take_if(|_| is_tried_again) else {
                return Ok((obtained, answered));
            };
            let function = instance.function().clone();
            if answered.reached != Reached::Nobody {
                let (name, request) = (&function.info.name, call.request_id);
                tracing::warn!(request, function = name, reason, "not loaded in a zygote's child");
                let reason = shortened(&reason);
                let line = format!(
                    "[not loaded in a zygote's child, and loaded again without one: {reason}]\n"
                );
                again.print(line.as_bytes());
            }
            let Some(fresh) = self.serve(turn, &function, prepared, call.request_id).await? else {
                // The environment was removed meanwhile.
                answered.recording = Some(again);
                return Ok((obtained, answered));
            };
            (obtained, recording) = (fresh, again);
        }
    }

    /// Does the work after a reply: freezes the instance, gives its environment a zygote, and gives the
    /// zygote another spare.
    pub fn settle(&self, kept: Kept) {
        // Not in the thread that serves the client, which may have sent the next request.
        let _background = self.background.enter();
        let Kept { function, place, tells, tier, tree, zygote, imported } = kept;
        let is_current = self.is_deployed(&function);
        if self.settings.tiers.zygote && tier != Tier::Paused {
            // A start that failed tells nothing by the modules that it did not import.
            let told = tells.then_some(imported);
            let had = zygote.as_ref().map(|(id, _)| *id);
            let (zygotes, tree) = (self.zygotes.clone(), tree.clone());
            tokio::spawn(async move { zygotes.learn(&function, &tree, told, had).await });
        }
        match place {
            Some(place) if is_current => self.paused.settle(place),
            Some(place) => self.paused.discard(&place),
            None => {}
        }
        if let Some(zygote) = zygote.and_then(|(_, zygote)| zygote.upgrade()) {
            self.zygotes.refill(&zygote);
        }
        if tier != Tier::Paused {
            // Memory that paused sandboxes gain while they are used again is looked at from time to time.
            self.shrink();
        }
    }

    /// True if an instance is to be kept. Another version may have been deployed meanwhile.
    fn keeps(&self, instance: &Instance) -> bool {
        self.settings.tiers.paused && instance.is_fit() && self.is_deployed(instance.function())
    }

    /// True if a function's name still stands for this version.
    fn is_deployed(&self, function: &Arc<Function>) -> bool {
        let now = self.functions.get(&function.info.name);
        now.is_ok_and(|now| Arc::ptr_eq(&now, function))
    }
}

/// Notes that a handler was loaded, and if its code has an order of its own, for the version and in the log.
fn note_loaded(instance: &Instance, tier: Tier, answered: &mut Answered) {
    let trust = &instance.function().trust;
    if tier != Tier::Paused {
        trust.has_loaded();
    }
    if let Some(reason) = answered.unlike.take() {
        let reason = shortened(&reason);
        trust.has_own_order(&reason);
        if let Some(recording) = &mut answered.recording {
            let line = format!("[started without a zygote from now on: {reason}]\n");
            recording.print(line.as_bytes());
        }
    }
}

/// Notes that a handler was not loaded; true if it is to be loaded once more, in an interpreter of its own.
fn note_unloaded(instance: &Instance, reached: Reached, reason: &str) -> bool {
    let trust = &instance.function().trust;
    match (reached, instance.origin()) {
        (Reached::Order, Origin::Zygote { .. } | Origin::Standby) => {
            trust.has_own_order(reason);
            true
        }
        (_, Origin::Zygote { .. } | Origin::Standby) => trust.has_failed_forked(reason),
        (_, Origin::Interpreter) => {
            trust.has_failed_fresh();
            false
        }
    }
}

/// Ends the record of an invocation in the log.
fn end_recording(answered: &mut Answered, tier: Tier, function: &Function) {
    if let Some(recording) = answered.recording.take() {
        recording.end(Report {
            outcome: answered.outcome,
            error: answered.result.as_ref().err().cloned(),
            tier,
            run_us: answered.run_us,
            memory: function.info.memory,
        });
    }
}

fn shortened(reason: &str) -> String {
    reason.chars().take(MOST_REASON).collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
