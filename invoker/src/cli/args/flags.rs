//! Flags that say settings: arguments of clap that are made from the table of settings.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use pipsqueak::settings::{self, Flag, Overrides, Row, Scope};

/// Flags of every command: the places of the instance that is meant.
#[derive(Debug, Default)]
pub struct Places(pub Overrides);

/// Flags of commands that start an instance or look at its settings.
#[derive(Debug, Default)]
pub struct Flags(pub Overrides);

impl Flags {
    /// These flags, and the places of the instance.
    pub fn at(self, places: Places) -> Overrides {
        self.0.or(places.0)
    }
}

impl Args for Places {
    fn augment_args(command: Command) -> Command {
        let global = |arg: Arg| arg.global(true).help_heading("Instance");
        command.args(arguments(Scope::Every).map(global))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Places {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(overrides(Scope::Every, matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(arguments(Scope::Start))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(overrides(Scope::Start, matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The rows of a scope, with their flags.
fn rows(scope: Scope) -> impl Iterator<Item = (&'static Row, &'static Flag)> {
    settings::flags().filter(move |(_, flag)| flag.scope == scope)
}

fn arguments(scope: Scope) -> impl Iterator<Item = Arg> {
    rows(scope).map(|(row, flag)| {
        let parser = if flag.is_path { value_parser!(PathBuf) } else { value_parser!(String) };
        Arg::new(row.key)
            .long(flag.long())
            .value_name(flag.value_name)
            .value_parser(parser)
            .help(format!("{} [{}]", row.help, row.default))
    })
}

fn overrides(scope: Scope, matches: &ArgMatches) -> Overrides {
    let mut overrides = Overrides::default();
    for (row, flag) in rows(scope) {
        if let Some(text) = matches.get_raw(row.key).and_then(|mut texts| texts.next_back()) {
            flag.give(&mut overrides, text.to_owned());
        }
    }
    overrides
}
