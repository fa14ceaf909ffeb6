//! Gives flags their environment variables, under the prefix of the program that has them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Id};

use super::section::{MapAccess, Section};

/// The program whose environment variables settings are read from.
pub trait VariablePrefix {
    /// What its variables begin with, such as `KMS_PLUGIN_`.
    const PREFIX: &'static str;

    /// The variable of a flag: `KMS_PLUGIN_BAO_KEY` for `bao-key`.
    #[must_use]
    fn variable(flag: &str) -> String {
        format!("{}{}", Self::PREFIX, flag.replace('-', "_").to_uppercase())
    }
}

/// The flags of `T`, each of which can also be given by an environment variable with the prefix of `P`. Their values are not shown in
/// `--help`.
pub struct FromEnvironment<P, T> {
    args: T,
    prefix: PhantomData<fn() -> P>,
}

impl<P, T> FromEnvironment<P, T> {
    /// The settings alone.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.args
    }
}

impl<P, T> From<T> for FromEnvironment<P, T> {
    fn from(args: T) -> Self {
        Self {
            args,
            prefix: PhantomData,
        }
    }
}

impl<P, T> Deref for FromEnvironment<P, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.args
    }
}

impl<P, T> DerefMut for FromEnvironment<P, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.args
    }
}

impl<P, T: Default> Default for FromEnvironment<P, T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<P, T: Clone> Clone for FromEnvironment<P, T> {
    fn clone(&self) -> Self {
        self.args.clone().into()
    }
}

impl<P, T: fmt::Debug> fmt::Debug for FromEnvironment<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.args.fmt(f)
    }
}

impl<P, T: FromArgMatches> FromArgMatches for FromEnvironment<P, T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self::from)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.args.update_from_arg_matches(matches)
    }
}

impl<P: VariablePrefix, T: Args> Args for FromEnvironment<P, T> {
    fn group_id() -> Option<Id> {
        T::group_id()
    }

    fn augment_args(command: Command) -> Command {
        with_variables::<P, T>(T::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        with_variables::<P, T>(T::augment_args_for_update(command))
    }
}

fn with_variables<P: VariablePrefix, T: Args>(command: Command) -> Command {
    let own = T::augment_args(Command::new(""));
    own.get_arguments()
        .fold(command, |command, argument| match argument.get_long() {
            Some(flag) => command.mut_arg(argument.get_id(), |argument| {
                argument.env(P::variable(flag)).hide_env_values(true)
            }),
            None => command,
        })
}

impl<P, T: Section> Section for FromEnvironment<P, T> {
    fn set<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        self.args.set(name, map)
    }

    fn merge_over(self, lower: Self) -> Self {
        self.args.merge_over(lower.args).into()
    }

    fn first_given(&self) -> Option<&'static str> {
        self.args.first_given()
    }
}
