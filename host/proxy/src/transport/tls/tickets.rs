//! Session tickets (RFC 8446, section 4.6.1; RFC 5077): what a client brings back instead of a second full handshake. They are
//! stateless: the server keeps only the key that they are encrypted with.
//!
//! A key is used for six hours. All workers share it, an upgrade hands it on, and from a file several machines have the same.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use rustls::server::ProducesTickets;

use super::clients::Until;

/// Seconds for which a key encrypts. It decrypts for as long again.
const PERIOD: u64 = 6 * 3600;
/// The number of the period in front of a ticket.
const NUMBER: usize = 8;
/// Bytes of a secret.
pub const SECRET: usize = 32;

type Secret = [u8; SECRET];

/// The keys of tickets.
pub struct Tickets(Keys);

enum Keys {
    /// Every key follows from the secret of a file.
    Shared(Box<hmac::Key>),
    /// Each key follows from the one before, which is then forgotten: who learns one cannot read older sessions.
    Own(Mutex<Chain>),
}

/// The secrets of a period and of the one before.
#[derive(Clone, Copy)]
struct Chain {
    period: u64,
    now: Secret,
    before: Option<Secret>,
}

impl Chain {
    fn go_on(&mut self, period: u64) {
        while self.period < period {
            self.before = Some(self.now);
            self.now = derived(&hmac::Key::new(hmac::HMAC_SHA256, &self.now), b"next");
            self.period += 1;
        }
    }
}

fn derived(from: &hmac::Key, what: &[u8]) -> Secret {
    let mut secret = [0; SECRET];
    secret.copy_from_slice(hmac::sign(from, what).as_ref());
    secret
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX)
}

fn period() -> u64 {
    now().unsigned_abs() / PERIOD
}

impl Tickets {
    /// Keys that only this process knows. None when the system has no random numbers.
    pub fn own() -> Option<Arc<Tickets>> {
        let mut now = [0; SECRET];
        rand::fill(&mut now).ok()?;
        Some(Tickets::going_on(Chain { period: period(), now, before: None }))
    }

    /// Keys from a secret that several machines share.
    pub fn shared(secret: &[u8]) -> Arc<Tickets> {
        Arc::new(Tickets(Keys::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))))
    }

    /// Goes on with the keys of another process, see [`Tickets::hand_over`]. None when they are not what that answers.
    pub fn taken_over(bytes: &[u8]) -> Option<Arc<Tickets>> {
        let (number, secrets) = bytes.split_first_chunk::<NUMBER>()?;
        let (now, before) = secrets.split_first_chunk::<SECRET>()?;
        let before = if before.is_empty() { None } else { Some(before.try_into().ok()?) };
        // A period from the future would stay for ever; one from long ago would take long to leave behind.
        let number = u64::from_be_bytes(*number);
        let recent = period().saturating_sub(1) <= number && number <= period() + 1;
        recent.then(|| Tickets::going_on(Chain { period: number, now: *now, before }))
    }

    fn going_on(chain: Chain) -> Arc<Tickets> {
        Arc::new(Tickets(Keys::Own(Mutex::new(chain))))
    }

    /// What the process that serves next needs to resume the sessions of this one. None for those of a file.
    pub fn hand_over(&self) -> Option<Vec<u8>> {
        let Keys::Own(chain) = &self.0 else { return None };
        let chain = *chain.lock().unwrap_or_else(PoisonError::into_inner);
        let before = chain.before.as_ref().map_or(&[][..], |before| &before[..]);
        Some([&chain.period.to_be_bytes()[..], &chain.now, before].concat())
    }

    /// The key of a period that is now or was the last one.
    fn key(&self, number: u64) -> Option<LessSafeKey> {
        let now = period();
        let secret = match &self.0 {
            // The clocks of machines differ: another one may be in the next period.
            Keys::Shared(secret) if (now.saturating_sub(1)..=now + 1).contains(&number) => {
                derived(secret, &number.to_be_bytes())
            }
            Keys::Shared(_) => return None,
            Keys::Own(chain) => {
                let mut chain = chain.lock().unwrap_or_else(PoisonError::into_inner);
                chain.go_on(now);
                match chain.period.checked_sub(number)? {
                    0 => chain.now,
                    1 => chain.before?,
                    _ => return None,
                }
            }
        };
        let key = derived(&hmac::Key::new(hmac::HMAC_SHA256, &secret), b"key");
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?))
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// The tickets of connections of one listener, or of one that is like it.
#[derive(Debug)]
pub(super) struct TicketsFor {
    pub(super) tickets: Arc<Tickets>,
    /// What both have to have in common.
    pub(super) whom: Arc<[u8]>,
    /// Of the connection; it stands in the ticket, in front of the session.
    pub(super) until: Arc<Until>,
}

impl ProducesTickets for TicketsFor {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        // A process that has taken over may be a moment ahead of its clock.
        let number = match &self.tickets.0 {
            Keys::Shared(_) => period(),
            Keys::Own(chain) => chain.lock().unwrap_or_else(PoisonError::into_inner).period.max(period()),
        };
        let key = self.tickets.key(number)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NUMBER + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.extend(number.to_be_bytes());
        ticket.extend(nonce);
        let mut sealed = [&self.until.get().to_be_bytes()[..], plain].concat();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(&self.whom), &mut sealed).ok()?;
        ticket.extend(sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (number, rest) = ticket.split_first_chunk::<NUMBER>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.tickets.key(u64::from_be_bytes(*number))?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key.open_in_place(nonce, Aad::from(&self.whom), &mut opened).ok()?;
        let (until, plain) = opened.split_first_chunk()?;
        let until = i64::from_be_bytes(*until);
        if until < now() {
            // Who the client is has to be asked again.
            return None;
        }
        self.until.set(until);
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tickets: &Arc<Tickets>, whom: &str) -> TicketsFor {
        TicketsFor { tickets: tickets.clone(), whom: whom.as_bytes().into(), until: Arc::default() }
    }

    #[test]
    fn a_ticket_ends_with_the_certificate_of_its_client() {
        let tickets = Tickets::own().unwrap();
        for (until, read) in [(now() - 1, false), (now() + 60, true)] {
            let first = of(&tickets, "web");
            first.until.set(until);
            let next = of(&tickets, "web");
            assert_eq!(next.decrypt(&first.encrypt(b"a session").unwrap()).is_some(), read);
            if read {
                // The next ticket does not live longer.
                assert_eq!(next.until.get(), until);
            }
        }
    }

    #[test]
    fn a_ticket_is_read_by_who_has_the_keys_and_asks_the_same_of_clients() {
        let tickets = Tickets::own().unwrap();
        let ticket = of(&tickets, "web").encrypt(b"a session").unwrap();
        assert_eq!(of(&tickets, "web").decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(of(&tickets, "other").decrypt(&ticket), None);
        assert_eq!(of(&Tickets::own().unwrap(), "web").decrypt(&ticket), None);
        let next = Tickets::taken_over(&tickets.hand_over().unwrap()).unwrap();
        assert_eq!(of(&next, "web").decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        let (one, two) = (Tickets::shared(b"secret"), Tickets::shared(b"secret"));
        let ticket = of(&one, "web").encrypt(b"shared").unwrap();
        assert_eq!(of(&two, "web").decrypt(&ticket).as_deref(), Some(&b"shared"[..]));
        assert_eq!(of(&Tickets::shared(b"another"), "web").decrypt(&ticket), None);
        assert_eq!(one.hand_over(), None);
    }

    #[test]
    fn what_is_no_ticket_is_none() {
        let tickets = of(&Tickets::own().unwrap(), "web");
        let good = tickets.encrypt(b"a session").unwrap();
        for length in 0..good.len() {
            assert_eq!(tickets.decrypt(&good[..length]), None, "{length}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(tickets.decrypt(&bad), None, "{at}");
        }
        for bad in [&b""[..], &[0; 40], &[0xff; 72], &[0; 39]] {
            assert!(Tickets::taken_over(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_decrypts_for_one_period_more() {
        let secret = [7; SECRET];
        let aged = |by| Tickets::going_on(Chain { period: period() - by, now: secret, before: None });
        let ticket_of = |number: u64| {
            let tickets = aged(0);
            let key = tickets.key(number).map(|_| ());
            key.is_some()
        };
        assert!(ticket_of(period()));
        // The chain of the last period goes on to this one, and knows both.
        let tickets = aged(1);
        assert!(tickets.key(period()).is_some() && tickets.key(period() - 1).is_some());
        let tickets = aged(2);
        assert!(tickets.key(period()).is_some() && tickets.key(period() - 2).is_none());
    }
}
