//! Random filters on random bodies, against a model that knows no stages: each filter turns all that comes into all that
//! it lets go, and the filters are applied one after the other.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use odin_chain::{
    BodyMode, BodyOverflow, Chain, Decision, Due, Failed, Filter, Flow, Hook, Hooks, OnFailure, PieceDecision, Rules,
    Why,
};

/// How long a filter waits for a body that it wants whole.
const WAIT: Duration = Duration::from_secs(1);

/// A filter that acts by rote: at its n-th call it does the n-th of these, and passes from then on.
#[derive(Clone, Debug)]
struct Rote {
    mode: BodyMode,
    limit: usize,
    overflow: BodyOverflow,
    open: bool,
    acts: Vec<Act>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Pass,
    Replace,
    Append,
    Hold,
    Skip,
    Reject,
    Fail { may_pass: bool },
}

/// What comes of a body: bytes, or nothing until every filter has waited long enough.
#[derive(Clone, Debug)]
struct Event {
    bytes: Vec<u8>,
    late: bool,
}

/// How a flow ended: whole, or at this event by this filter and for this reason.
type Ended = Option<(usize, usize, &'static str)>;

impl Filter for Rote {
    fn hooks(&self) -> Hooks {
        Hooks::from_iter([Hook::RequestHeaders, Hook::RequestBody, Hook::ResponseHeaders, Hook::ResponseBody])
    }

    fn rules(&self) -> Rules {
        let on_failure = if self.open { OnFailure::Open } else { OnFailure::Closed };
        Rules { body_bytes: self.limit, body_wait: WAIT, body_overflow: self.overflow, on_failure }
    }
}

fn answer(act: Act, piece: &[u8]) -> Result<PieceDecision, Failed<()>> {
    Ok(match act {
        Act::Pass => PieceDecision::Pass,
        Act::Replace => PieceDecision::Replace(Bytes::from(piece.to_ascii_uppercase())),
        Act::Append => PieceDecision::Append(Bytes::from_static(b"+")),
        Act::Hold => PieceDecision::Hold,
        Act::Skip => PieceDecision::Skip,
        Act::Reject => PieceDecision::Reject(String::new()),
        Act::Fail { may_pass } => return Err(Failed { error: (), may_pass }),
    })
}

/// The machine: what went on, and how it ended.
fn driven(filters: &[Rote], hook: Hook, events: &[Event]) -> (Vec<u8>, Ended) {
    let chain: Chain<Rote> = filters.iter().cloned().collect();
    let head = if hook == Hook::RequestBody { Hook::RequestHeaders } else { Hook::ResponseHeaders };
    for at in chain.due(head) {
        chain.decided::<()>(at, head, Ok(Decision::Read(chain.filter(at).mode))).unwrap();
    }
    let (mut calls, mut sent, began) = (vec![0; filters.len()], Vec::new(), Instant::now());
    let mut flow = Flow::new(&chain, hook, true, began);
    for (number, event) in events.iter().enumerate() {
        let mut step = match event.late {
            true => flow.late(began + WAIT),
            false => flow.arrived(Bytes::from(event.bytes.clone()), number + 1 == events.len()),
        };
        loop {
            match step {
                Ok(Due::Send(bytes)) => break sent.extend_from_slice(&bytes),
                Ok(Due::Ask { filter, piece, .. }) => {
                    let act = filters[filter].acts.get(calls[filter]).copied().unwrap_or(Act::Pass);
                    calls[filter] += 1;
                    let answer = answer(act, &piece);
                    step = flow.answered(piece, answer);
                }
                Err(end) => {
                    let why = match end.why {
                        Why::Reject(_) => "rejected",
                        Why::Failed(()) => "failed",
                        Why::TooLarge => "too large",
                        Why::TooLate => "too late",
                        Why::Reply(_) | Why::Cut(_) => "something else",
                    };
                    return (sent, Some((number, end.filter, why)));
                }
            }
        }
    }
    (sent, None)
}

/// The model of one filter: what it lets go at each event, and at which it ends the exchange, if it does.
fn model(filter: &Rote, events: &[Event]) -> (Vec<Event>, Option<(usize, &'static str)>) {
    let mut acts = filter.acts.iter().copied();
    let (mut held, mut out) = (Vec::new(), Vec::new());
    let whole = matches!(filter.mode, BodyMode::Buffer | BodyMode::Hold);
    let reject = filter.overflow == BodyOverflow::Reject;
    let mut past = filter.mode == BodyMode::Skip;
    for (number, Event { bytes, late }) in events.iter().enumerate() {
        let end = number + 1 == events.len() && !late;
        let go = |bytes| Event { bytes, late: *late };
        if past || (!whole && bytes.is_empty() && !end) {
            out.push(go(bytes.clone()));
            continue;
        }
        held.extend_from_slice(bytes);
        let over = held.len() > filter.limit;
        let short = whole && (*late || over);
        if short && reject {
            return (out, Some((number, if *late { "too late" } else { "too large" })));
        }
        if whole && !short && !end {
            out.push(go(Vec::new()));
            continue;
        }
        let shown = std::mem::take(&mut held);
        past |= short;
        out.push(go(match acts.next().unwrap_or(Act::Pass) {
            Act::Pass => shown,
            Act::Replace => shown.to_ascii_uppercase(),
            Act::Append => [shown, b"+".to_vec()].concat(),
            // There is no later call at which it could let go of it.
            Act::Hold if short || end => shown,
            Act::Hold if over && reject => return (out, Some((number, "too large"))),
            Act::Hold if over => {
                past = true;
                shown
            }
            Act::Hold => {
                held = shown;
                Vec::new()
            }
            Act::Skip => {
                past = true;
                shown
            }
            Act::Fail { may_pass: true } if filter.open => {
                past = true;
                shown
            }
            Act::Fail { .. } => return (out, Some((number, "failed"))),
            Act::Reject => return (out, Some((number, "rejected"))),
        }));
    }
    (out, None)
}

/// The model of all of them, in the order in which the bytes meet them.
fn modelled(filters: &[Rote], order: &[usize], events: &[Event]) -> (Vec<u8>, Ended) {
    let (mut events, mut ended): (Vec<Event>, Ended) = (events.to_vec(), None);
    let count = events.len();
    for &at in order {
        // A filter does not see the event at which one before it has ended the exchange, nor what would have come then.
        let seen = ended.map_or(count, |(number, ..)| number);
        events.truncate(seen);
        events.resize(count, Event { bytes: Vec::new(), late: false });
        let (out, end) = model(&filters[at], &events);
        if let Some((number, why)) = end.filter(|(number, _)| *number < seen) {
            ended = Some((number, at, why));
        }
        events = out;
    }
    let sent = ended.map_or(count, |(number, ..)| number);
    (events.into_iter().take(sent).flat_map(|event| event.bytes).collect(), ended)
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mix = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mix = (mix ^ (mix >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mix ^ (mix >> 31)) % most
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn filter(&mut self) -> Rote {
        use Act::{Append, Fail, Hold, Pass, Reject, Replace, Skip};
        // Those that end an exchange are rare, so that most bodies get through.
        let acts: &[Act] = match self.below(3) {
            0 => &[Pass, Hold, Reject, Fail { may_pass: true }, Fail { may_pass: false }],
            _ => &[Pass, Replace, Append, Hold, Hold, Skip],
        };
        Rote {
            mode: self.one_of(&[BodyMode::Skip, BodyMode::Stream, BodyMode::Stream, BodyMode::Buffer, BodyMode::Hold]),
            limit: self.one_of(&[2, 10, 1000]),
            overflow: self.one_of(&[BodyOverflow::Reject, BodyOverflow::Partial]),
            open: self.below(2) == 0,
            acts: (0..self.below(6)).map(|_| self.one_of(acts)).collect(),
        }
    }

    fn events(&mut self) -> Vec<Event> {
        let count = 1 + self.below(6);
        let event = |at| {
            let late = at + 1 < count && self.below(12) == 0;
            let length = if late { 0 } else { self.below(5) };
            Event { bytes: vec![b'a' + at as u8; length as usize], late }
        };
        (0..count).map(event).collect()
    }
}

#[test]
fn the_chain_does_what_the_model_does() {
    let mut random = Random(1);
    let (mut whole, mut ended) = (0, 0);
    for turn in 0..200_000 {
        let filters: Vec<Rote> = (0..random.below(5)).map(|_| random.filter()).collect();
        let events = random.events();
        let forth = random.below(2) == 0;
        let hook = if forth { Hook::RequestBody } else { Hook::ResponseBody };
        let mut order: Vec<usize> = (0..filters.len()).collect();
        if !forth {
            order.reverse();
        }
        let (is, should) = (driven(&filters, hook, &events), modelled(&filters, &order, &events));
        let told = |(sent, ended): &(Vec<u8>, Ended)| format!("{:?} {ended:?}", String::from_utf8_lossy(sent));
        assert_eq!(told(&is), told(&should), "turn {turn}: {hook:?} {events:?} {filters:#?}");
        *if is.1.is_none() { &mut whole } else { &mut ended } += 1;
    }
    assert!(whole > 20_000 && ended > 20_000, "{whole} whole, {ended} ended: the bodies are to do both");
}
