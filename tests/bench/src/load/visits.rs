//! New connections to addresses that are drawn by lot, each for one request.
//!
//! The draw is the same in every run, so that no two runs differ by it.

use std::io::Write;
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::response;

const VISITORS: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes `count` connections to wherever `target` says.
pub(crate) fn run(count: usize, target: impl Fn(&mut Dice) -> SocketAddrV4 + Sync) -> Result<()> {
    let begun = AtomicUsize::new(0);
    let visitor = |number| {
        let mut dice = Dice::new(number);
        let mut buffer = vec![0; 4 << 10];
        while begun.fetch_add(1, Ordering::Relaxed) < count {
            let address = target(&mut dice);
            visit(address, &mut buffer, PATIENCE).with_context(|| format!("a connection to {address} failed"))?;
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let visitor = &visitor;
        let visitors: Vec<_> = (0..VISITORS).map(|number| scope.spawn(move || visitor(number))).collect();
        visitors.into_iter().try_for_each(|visitor| visitor.join().map_err(|_| anyhow!("a visitor panicked"))?)
    })
}

/// One connection with one request, which must be answered whole and with 200. The client closes first: what waits for lost
/// packets then is its own port and not the proxy's, which the next proxy may want to bind.
pub(crate) fn visit(address: SocketAddrV4, buffer: &mut [u8], patience: Duration) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address.into(), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /bench HTTP/1.1\r\nhost: bench\r\n\r\n")?;
    response::read(&mut stream, buffer, |_| Ok(()))
}

/// Numbers that look random (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// From zero to less than `limit`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let upper = (mixed ^ (mixed >> 31)) >> 32;
        ((upper * u64::from(limit)) >> 32) as u32
    }
}
