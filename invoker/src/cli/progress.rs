//! Progress on stderr: a bar on a terminal, a line for each step elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use pipsqueak::wire::Progress;

use super::output::{self, harmless};
use super::terminal::Stream;

/// Shows progress; cleared when it is dropped. Nothing is set up before there is any.
#[derive(Debug)]
pub struct Meter {
    spins: bool,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Line(String),
}

impl Meter {
    /// A meter that moves with news only, and needs no thread.
    pub fn still() -> Self {
        Self { spins: false, shown: Shown::Nothing }
    }

    /// A meter that keeps moving while there is no news.
    pub fn spinning() -> Self {
        Self { spins: true, shown: Shown::Nothing }
    }

    /// Shows how far the work is.
    pub fn show(&mut self, mut progress: Progress) {
        // A step may have a package's name, which the package's author chose.
        progress.step = harmless(&progress.step);
        match &mut self.shown {
            Shown::Nothing if Stream::Stderr.is_terminal() => {
                let bar = ProgressBar::no_length();
                if self.spins {
                    bar.enable_steady_tick(Duration::from_millis(100));
                }
                draw(&bar, progress);
                self.shown = Shown::Bar(bar);
            }
            Shown::Bar(bar) => draw(bar, progress),
            Shown::Line(last) if *last == progress.step => {}
            Shown::Nothing | Shown::Line(_) => {
                output::aside(&progress.step);
                self.shown = Shown::Line(progress.step);
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, progress: Progress) {
    if progress.total > 0 {
        bar.set_length(progress.total);
    }
    let template = match (progress.total, progress.bytes) {
        (0, _) => "{spinner} {wide_msg}",
        (_, true) => "{spinner} [{bar:24}] {binary_bytes}/{binary_total_bytes} {wide_msg}",
        (_, false) => "{spinner} [{bar:24}] {pos}/{len} {wide_msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(progress.step);
    bar.set_position(progress.done);
    bar.tick();
}
