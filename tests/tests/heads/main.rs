//! The table of heads and bodies that could be read in two ways, in both directions and both versions.
//!
//! Odin checks every head itself: what is odd is refused, closed and never forwarded. Each table runs as a whole and
//! reports every case that failed.

mod h2_requests;
mod h2_responses;
mod recorder;
mod request_bodies;
mod request_heads;
mod requests;
mod response_table;
mod responses;

/// How many cases the tables hold: the acceptance of the project asks for at least eighty.
#[test]
fn the_tables_are_long_enough() {
    let requests = request_heads::cases().len() + request_bodies::cases().len() + h2_requests::cases().len();
    let responses = response_table::cases().len() + h2_responses::cases().len();
    println!("{requests} requests, {responses} responses");
    assert!(requests >= 100 && responses >= 60, "{requests} requests, {responses} responses");
}

/// Text in which each character is one byte, so that a table can hold any byte.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).expect("a table holds bytes")).collect()
}

/// Fails with every failed case, or passes.
#[track_caller]
fn report(table: &str, failures: Vec<String>) {
    let shown = failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{table}: {} cases failed; the first of them:\n{shown}", failures.len());
}
