//! What a client dials when a listener has thousands of addresses: connects, and says where it got.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::raw::Raw;
use crate::wait::within;

/// A number below `bound`, another one each time.
pub fn below(bound: usize) -> usize {
    // The keys of the hash are random.
    (RandomState::new().hash_one(0) % bound as u64) as usize
}

/// One of these.
pub fn one_of<T: Copy>(all: &[T]) -> T {
    all[below(all.len())]
}

/// Fails unless a connect to this address is refused, which is not the same as unanswered.
#[track_caller]
pub fn refused(address: &str) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let address: SocketAddr = address.parse().expect("an address");
    async move {
        match within("an answer to a connect", TcpStream::connect(address)).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            other => panic!("{caller}: {address} was to refuse, and: {other:?}"),
        }
    }
}

/// Whether somebody takes connections there.
pub async fn accepts(address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("an address");
    TcpStream::connect(address).await.is_ok()
}

/// The line that whoever is at this address greets with.
#[track_caller]
pub fn greeting(address: &str) -> impl Future<Output = String> {
    let caller = std::panic::Location::caller();
    let address: SocketAddr = address.parse().expect("an address");
    async move {
        let mut client = Raw::try_connect(address).await.unwrap_or_else(|error| panic!("{caller}: {address}: {error}"));
        client.finish().await;
        let (said, _) = client.rest().await;
        String::from_utf8(said).expect("a greeting is text").trim_end().to_string()
    }
}
