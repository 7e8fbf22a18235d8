use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;

/// Manner of the other side when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answers,
    /// Answers in pieces.
    Stammers,
    /// After the one who asks has given up, and then goes on as if nothing had been.
    IsLate,
    /// Answers rightly, and then once more.
    AnswersTwice,
    /// The answer of the question before.
    AnswersTheOneBefore,
    SaysNonsense,
    /// A part of a line, and then ends.
    Breaks,
    Ends,
}

use Manner::{
    Answers, AnswersTheOneBefore, AnswersTwice, Breaks, Ends, IsLate, SaysNonsense, Stammers,
};

const MANNERS: [Manner; 8] =
    [Answers, Stammers, IsLate, AnswersTwice, AnswersTheOneBefore, SaysNonsense, Breaks, Ends];
/// Long for one that answers, and short for one that waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(20);

/// Answers each question with twice what was asked, in the manner of its turn.
fn other_side(socket: UnixStream, manners: &[Manner]) -> io::Result<()> {
    let copy = socket.try_clone()?;
    let mut raw = &copy;
    let mut line = Responder::new(socket);
    line.say(&Numbered { number: 0, body: 0_u64 })?;
    let mut before = Numbered { number: 0, body: 0 };
    for manner in manners {
        let Some(asked) = line.hear::<Numbered<u64>>()? else { return Ok(()) };
        let answer = Numbered { number: asked.number, body: asked.body * 2 };
        match manner {
            Answers => line.say(&answer)?,
            Stammers => {
                for piece in serde_json::to_vec(&answer)?.chunks(3).chain([&b"\n"[..]]) {
                    raw.write_all(piece)?;
                    thread::yield_now();
                }
            }
            IsLate => {
                thread::sleep(SHORT * 3);
                line.say(&answer)?;
            }
            AnswersTwice => {
                line.say(&answer)?;
                line.say(&answer)?;
            }
            AnswersTheOneBefore => line.say(&before)?,
            SaysNonsense => raw.write_all(b"{\"number\": tw\xff}\n")?,
            Breaks => return raw.write_all(b"{\"number\": 1"),
            Ends => return Ok(()),
        }
        before = answer;
    }
    // It ends, so that nobody waits for what nobody says.
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever the other side does, and however many ask: each gets the answer to its own question or
    /// an error, and after the first error nobody gets an answer.
    #[test]
    fn nobody_gets_anothers_answer(
        manners in prop::collection::vec(prop::sample::select(&MANNERS[..]), 1..10),
        askers in 1_u64..4,
    ) {
        let (near, far) = UnixStream::pair().unwrap();
        let is_ever_late = manners.contains(&IsLate);
        let questions = manners.len() as u64 + 2;
        let other = thread::spawn(move || drop(other_side(far, &manners)));
        let (conversation, _) = Conversation::begin::<u64>(near, PATIENCE).unwrap();
        let conversation = Arc::new(conversation);
        // What was answered after a failure that had been told before it was asked.
        let wrong = Arc::new(AtomicU64::new(0));
        let failed = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..askers).map(|asker| {
            let (conversation, wrong, failed) =
                (conversation.clone(), wrong.clone(), failed.clone());
            thread::spawn(move || {
                for turn in 0..questions {
                    let question = asker * 1000 + turn;
                    let had_failed = failed.load(Ordering::SeqCst) > 0;
                    let patience = if is_ever_late { SHORT } else { PATIENCE };
                    match conversation.ask::<u64>(&question, patience) {
                        Ok(answer) if answer != question * 2 || had_failed => {
                            wrong.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(_) => {}
                        Err(_) => drop(failed.fetch_add(1, Ordering::SeqCst)),
                    }
                }
            })
        }).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        prop_assert_eq!(wrong.load(Ordering::SeqCst), 0);
        drop(conversation);
        other.join().unwrap();
    }
}

fn asked_of(manners: &'static [Manner], patience: Duration) -> Vec<Result<u64, AskError>> {
    let (near, far) = UnixStream::pair().unwrap();
    let other = thread::spawn(move || drop(other_side(far, manners)));
    let (conversation, _) = Conversation::begin::<u64>(near, PATIENCE).unwrap();
    let answers = (1..=2).map(|question| conversation.ask(&question, patience)).collect();
    drop(conversation);
    other.join().unwrap();
    answers
}

#[test]
fn an_answer_that_comes_late_comes_to_nobody() {
    let answers = asked_of(&[IsLate, Answers], SHORT);
    assert!(matches!(answers[..], [Err(AskError::Late(_)), Err(AskError::Over)]), "{answers:?}");
}

#[test]
fn an_answer_that_comes_twice_is_no_answer_to_the_next() {
    let answers = asked_of(&[AnswersTwice, Answers], PATIENCE);
    let [Ok(2), Err(AskError::Another { asked: 2, answered: 1 })] = answers[..] else {
        panic!("{answers:?}")
    };
}

#[test]
fn one_that_never_ends_a_line_is_late() {
    let (near, far) = UnixStream::pair().unwrap();
    let other = thread::spawn(move || {
        let mut far = far;
        while far.write_all(b"x").is_ok() {
            thread::sleep(SHORT / 10);
        }
    });
    let begun = Conversation::begin::<u64>(near, SHORT);
    assert!(matches!(begun, Err(AskError::Late(_))), "{begun:?}");
    drop(begun);
    other.join().unwrap();
}

#[test]
fn what_cannot_be_said_in_time_ends_it() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut line = Responder::new(far);
    line.say(&Numbered { number: 0, body: 0_u64 }).unwrap();
    let (conversation, _) = Conversation::begin::<u64>(near, PATIENCE).unwrap();
    let long = "x".repeat(8 << 20);
    let answer = conversation.ask::<u64>(&long, SHORT);
    assert!(matches!(answer, Err(AskError::Late(_))), "{answer:?}");
    let next = conversation.ask::<u64>(&1, SHORT);
    assert!(matches!(next, Err(AskError::Over)), "{next:?}");
}
