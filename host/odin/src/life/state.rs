//! The states of the process after its start, what each has, and what an event makes of it. Nothing is done here: the
//! answer to an event says what is to be done. docs/architecture.md has a picture.

use super::Running;
use super::hand_over::Upgrade;
use crate::upgrade::Replacement;

/// What the process is about. In tests the data are of simpler types.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State<D = Running, U = Upgrade> {
    Serving(D),
    /// A new process was started. Until it serves, this one does.
    HandingOver {
        running: D,
        upgrade: U,
        /// A reload was refused meanwhile: it is due if the upgrade fails.
        missed_reload: bool,
    },
    /// Nothing is accepted any more; what runs may take so long.
    Draining(Why, Patience),
    Ended,
}

/// Why a process drains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Why {
    /// By a signal.
    Stopped,
    /// A new process serves.
    Replaced,
    /// That one has failed: no process serves.
    Deserted,
}

/// How long a drain may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Patience {
    /// `drain-timeout`.
    Long,
    /// `shutdown-grace`.
    Short,
    None,
}

/// What happens to the process.
#[derive(Clone, Debug)]
pub(super) enum Event<U = Upgrade, R = Replacement> {
    /// A signal asks it to end.
    Stop,
    /// The config is to be read again.
    Reload,
    /// A new process is to take over.
    Upgrade,
    /// That one was started.
    UpgradeBegun(U),
    /// That one is gone.
    UpgradeFailed,
    /// That one serves.
    TookOver(R),
    /// That one has failed after it took over.
    SuccessorFailed,
    /// Nothing runs any more.
    Drained,
}

/// What is to be done about an event.
#[derive(Debug, PartialEq)]
pub(super) enum Act<D = Running, U = Upgrade, R = Replacement> {
    /// Nothing, or what was asked for.
    None,
    Refuse(&'static str),
    /// Put right what the new process has changed, and reload if that was missed.
    ServeOn {
        upgrade: U,
        reload: bool,
    },
    /// Accept no more, and wait for what runs.
    Drain(D, End<U, R>),
    /// The drain may last so long from now on.
    Hurry(Patience),
    Exit(Result<(), &'static str>),
}

/// Why a process does not serve any more.
#[derive(Debug, PartialEq)]
pub(super) enum End<U = Upgrade, R = Replacement> {
    /// By a signal, and with it the upgrade that was under way.
    Stopped(Option<U>),
    Replaced(U, R),
}

impl<D, U> State<D, U> {
    /// What an event makes of this state, and what is to be done about it.
    pub(super) fn on<R>(self, event: Event<U, R>) -> (Self, Act<D, U, R>) {
        use State::{Draining, Ended, HandingOver, Serving};
        match (self, event) {
            (Serving(running), Event::UpgradeBegun(upgrade)) => {
                (HandingOver { running, upgrade, missed_reload: false }, Act::None)
            }
            (Serving(running), Event::Stop) => {
                (Draining(Why::Stopped, Patience::Short), Act::Drain(running, End::Stopped(None)))
            }

            (HandingOver { running, upgrade, .. }, Event::Reload) => {
                let words = "a new binary is about to take over; whoever serves then reads the config again";
                (HandingOver { running, upgrade, missed_reload: true }, Act::Refuse(words))
            }
            (state @ HandingOver { .. }, Event::Upgrade) => {
                (state, Act::Refuse("a new binary is about to take over already"))
            }
            (HandingOver { running, upgrade, missed_reload }, Event::UpgradeFailed) => {
                (Serving(running), Act::ServeOn { upgrade, reload: missed_reload })
            }
            (HandingOver { running, upgrade, .. }, Event::TookOver(by)) => {
                (Draining(Why::Replaced, Patience::Long), Act::Drain(running, End::Replaced(upgrade, by)))
            }
            (HandingOver { running, upgrade, .. }, Event::Stop) => {
                (Draining(Why::Stopped, Patience::Short), Act::Drain(running, End::Stopped(Some(upgrade))))
            }

            // The first signal after an upgrade leaves what runs as long as any stop does; one more ends the drain at once.
            (Draining(why, Patience::Long), Event::Stop) => {
                (Draining(why, Patience::Short), Act::Hurry(Patience::Short))
            }
            (Draining(why, Patience::Short), Event::Stop) => {
                (Draining(why, Patience::None), Act::Hurry(Patience::None))
            }
            (Draining(Why::Replaced, patience), Event::SuccessorFailed) => {
                (Draining(Why::Deserted, patience), Act::Hurry(Patience::Short))
            }
            (Draining(why, patience), Event::Drained) => {
                let result = match (why, patience) {
                    (Why::Stopped, Patience::None) => Err("stopped before the drain was over"),
                    (Why::Deserted, _) => Err("the process that took over has failed"),
                    _ => Ok(()),
                };
                (Ended, Act::Exit(result))
            }
            (state @ (Draining(..) | Ended), Event::Reload | Event::Upgrade) => {
                (state, Act::Refuse("this process drains"))
            }

            (state, _) => (state, Act::None),
        }
    }

    /// What there is until the drain.
    pub(super) fn running(&self) -> Option<&D> {
        match self {
            State::Serving(running) | State::HandingOver { running, .. } => Some(running),
            State::Draining(..) | State::Ended => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use Event::{Drained, Reload, Stop, SuccessorFailed, TookOver, Upgrade, UpgradeBegun, UpgradeFailed};

    use super::*;

    type Tried = State<&'static str, u8>;

    /// Lets these events happen to a process that serves; answers the state after the last one and what was to be done.
    fn story<const N: usize>(events: [Event<u8, u8>; N]) -> (Tried, Act<&'static str, u8, u8>) {
        let start = (State::Serving("path"), Act::None);
        events.into_iter().fold(start, |(state, _), event| state.on(event))
    }

    #[test]
    fn a_reload_that_an_upgrade_refused_is_due_when_that_has_failed() {
        let (state, act) = story([UpgradeBegun(1), UpgradeFailed]);
        assert_eq!((state, act), (State::Serving("path"), Act::ServeOn { upgrade: 1, reload: false }));
        assert!(matches!(story([UpgradeBegun(1), Reload]).1, Act::Refuse(_)));
        let (state, act) = story([UpgradeBegun(1), Reload, UpgradeFailed]);
        assert_eq!((state, act), (State::Serving("path"), Act::ServeOn { upgrade: 1, reload: true }));
        assert_eq!(story([UpgradeBegun(1), Reload, UpgradeFailed, Reload]).1, Act::None);
    }

    #[test]
    fn a_stop_ends_an_upgrade_and_a_second_one_the_drain() {
        assert_eq!(story([Stop]).1, Act::Drain("path", End::Stopped(None)));
        assert_eq!(story([UpgradeBegun(1), Stop]).1, Act::Drain("path", End::Stopped(Some(1))));
        assert_eq!(story([Stop, Drained]), (State::Ended, Act::Exit(Ok(()))));
        assert_eq!(story([Stop, Stop]).1, Act::Hurry(Patience::None));
        assert!(matches!(story([Stop, Stop, Drained]).1, Act::Exit(Err(_))));
    }

    #[test]
    fn who_was_replaced_is_hurried_in_two_steps_and_fails_with_its_successor() {
        assert_eq!(story([UpgradeBegun(1), TookOver(2)]).1, Act::Drain("path", End::Replaced(1, 2)));
        assert_eq!(story([UpgradeBegun(1), TookOver(2), Stop]).1, Act::Hurry(Patience::Short));
        assert_eq!(story([UpgradeBegun(1), TookOver(2), Stop, Stop]).1, Act::Hurry(Patience::None));
        assert_eq!(story([UpgradeBegun(1), TookOver(2), Stop, Stop, Drained]).1, Act::Exit(Ok(())));
        assert_eq!(story([UpgradeBegun(1), TookOver(2), SuccessorFailed]).1, Act::Hurry(Patience::Short));
        assert!(matches!(story([UpgradeBegun(1), TookOver(2), SuccessorFailed, Drained]).1, Act::Exit(Err(_))));
    }

    #[test]
    fn in_every_state_every_event_keeps_the_data_path_until_the_drain_and_only_a_drained_process_ends() {
        let events = [Stop, Reload, Upgrade, UpgradeBegun(1), UpgradeFailed, TookOver(2), SuccessorFailed, Drained];
        let (mut states, mut at) = (vec![State::Serving("path")], 0);
        while let Some(state) = states.get(at).cloned() {
            for event in events.clone() {
                let serving = state == State::Serving("path");
                let (next, act) = state.clone().on(event.clone());
                let told = format!("{state:?} and {event:?}: {next:?}, {act:?}");
                let drains = matches!(act, Act::Drain(..));
                assert_eq!(next.running().is_some(), state.running().is_some() && !drains, "{told}");
                let ends = matches!(event, Drained) && state.running().is_none() && state != State::Ended;
                assert_eq!(matches!(act, Act::Exit(_)), ends, "{told}");
                let refused = matches!(event, Reload | Upgrade) && !serving;
                assert_eq!(matches!(act, Act::Refuse(_)), refused, "{told}");
                if !states.contains(&next) {
                    states.push(next);
                }
            }
            at += 1;
        }
        assert_eq!(states.len(), 12, "{states:?}");
    }
}
