//! What others have: the bindings of other steering Odins, and the listening sockets of this network namespace. Two
//! programs that steer the same port would take it from each other without a word.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use odin_steer_abi as abi;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::announce::{self, Answer, NAMES};
use crate::listening::{self, Listening};
use crate::overlap::Overlaps;
use crate::{Binding, Ports, SteerError};

/// Who does not answer by then is skipped.
const PATIENCE: Duration = Duration::from_secs(1);
/// More Odins than anybody has in one network namespace.
const MOST: usize = 32;
/// More than any Odin has to tell: full maps of the longest bindings are half of it.
const LONGEST_ANSWER: usize = 8 << 20;
/// Anyone can answer, under many names; not more than this is read of all together. Root's are not counted: it needs no
/// such way to fill the memory, and nobody shall crowd it out.
const ALL_ANSWERS: usize = 16 << 20;

const ROOT: u32 = 0;

/// The bindings of every other steering Odin of this network namespace, with its pid.
pub fn steered_by_others() -> io::Result<Vec<(u32, Vec<Binding>)>> {
    Ok(answers()?.into_iter().map(|answer| (answer.pid, answer.bindings)).collect())
}

/// Fails when one of these bindings overlaps what another Odin steers.
pub fn check_others(bindings: &[Binding]) -> Result<(), SteerError> {
    if bindings.is_empty() {
        return Ok(());
    }
    let answers = answers().map_err(SteerError::system("looking for other Odins"))?;
    not_steered(bindings, &answers)
}

/// Fails when somebody else has one of these bindings: another Odin, or a socket that listens. Warns where a binding of
/// any port covers a socket: that is what such a binding is for.
pub(crate) fn check(bindings: &[Binding], own: &HashSet<SocketAddr>) -> Result<(), SteerError> {
    if bindings.is_empty() {
        return Ok(());
    }
    let answers = answers().map_err(SteerError::system("looking for other Odins"))?;
    not_steered(bindings, &answers)?;
    let listening = listening::listening().map_err(SteerError::system("looking for listening sockets"))?;
    let hidden: Vec<_> = answers.iter().map(|answer| (answer.uid, HashSet::from_iter(&answer.hidden))).collect();
    let others = |socket: &&Listening| !own.contains(&socket.address) && !is_hidden(socket, &hidden);
    let sockets: Vec<_> = listening.iter().filter(others).map(|socket| &socket.address).collect();
    not_listened(bindings, &sockets)
}

/// Whether a socket is another Odin's hidden one. A user can tell that of its own sockets, and root of all: nobody shall
/// open another one's port to be steered.
fn is_hidden(socket: &Listening, told: &[(u32, HashSet<&SocketAddr>)]) -> bool {
    let Listening { address, uid } = socket;
    let by = |(teller, hidden): &(u32, HashSet<_>)| (*teller == ROOT || teller == uid) && hidden.contains(address);
    address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && told.iter().any(by)
}

fn not_steered(bindings: &[Binding], answers: &[Answer]) -> Result<(), SteerError> {
    let ours = Overlaps::new(bindings);
    for answer in answers {
        if let Some(&(at, theirs)) = ours.with(&answer.bindings).first() {
            let Answer { pid, uid, bindings: steered, .. } = answer;
            let by = format!("Odin {pid} (process id) of uid {uid}, which steers {}", steered[theirs]);
            return Err(SteerError::Taken { binding: bindings[at], by });
        }
    }
    Ok(())
}

fn not_listened(bindings: &[Binding], sockets: &[&SocketAddr]) -> Result<(), SteerError> {
    let theirs: Vec<_> = sockets.iter().map(|address| Binding::from(**address)).collect();
    let (any, exact): (Vec<_>, Vec<_>) = bindings.iter().copied().partition(|binding| binding.ports() == Ports::Any);
    if let Some((at, socket)) = clash(&exact, &theirs) {
        let by = format!("a socket that listens on {socket}");
        return Err(SteerError::Taken { binding: exact[at], by });
    }
    let mut covered: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for (at, socket) in Overlaps::new(&any).with(&theirs) {
        covered.entry(at).or_default().insert(sockets[socket].to_string());
    }
    for (at, sockets) in covered {
        let sockets = sockets.into_iter().collect::<Vec<_>>().join(", ");
        tracing::warn!("{} takes the connections of other listening sockets too: {sockets}", any[at]);
    }
    Ok(())
}

/// A binding and a socket that want the same connections, both of one port.
fn clash(bindings: &[Binding], sockets: &[Binding]) -> Option<(usize, Binding)> {
    let ours = Overlaps::new(bindings);
    let mut sockets = sockets.to_vec();
    loop {
        let pairs = ours.with(&sockets);
        // A network of IPv4 lies in that of every IPv6 address, whose socket may leave it alone.
        let apart = |&&(at, socket): &&(usize, usize)| {
            let (ours, theirs) = (bindings[at].network().addr(), &sockets[socket]);
            let is_free = |theirs: SocketAddr| is_free(SocketAddr::new(ours, theirs.port()));
            ours.is_ipv4()
                && theirs.network().addr().is_ipv6()
                && theirs.socket_addresses().is_none_or(|mut theirs| theirs.all(is_free))
        };
        if let Some((at, socket)) = pairs.iter().find(|pair| !apart(pair)) {
            return Some((*at, sockets[*socket]));
        }
        if pairs.is_empty() {
            return None;
        }
        // Behind those there may be others.
        let seen: HashSet<usize> = pairs.into_iter().map(|(_, socket)| socket).collect();
        let mut at = 0..;
        sockets.retain(|_| at.next().is_none_or(|at| !seen.contains(&at)));
    }
}

/// Whether an IPv4 address could be bound. It cannot if a socket that listens on every IPv6 address takes the connections
/// of IPv4 as well, of which the table of sockets tells nothing; nor where this process may not ask.
fn is_free(address: SocketAddr) -> bool {
    let bind = || {
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // What has ended is not in the way; it does not listen, so nobody comes to it.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // Not every address that is steered is this host's.
        sockopt::set_ip_freebind(&socket, true)?;
        rustix::net::bind(&socket, &address)
    };
    bind().is_ok()
}

/// What the other Odins tell. All are asked at once: one that does not answer keeps nobody waiting for the next.
fn answers() -> io::Result<Vec<Answer>> {
    let names = names()?;
    if names.len() > MOST {
        tracing::warn!("{} processes claim to be Odins that steer; {MOST} of them are asked", names.len());
    }
    let all = &AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let asked = names.into_iter().take(MOST).map(|name| {
            let shown = String::from_utf8_lossy(&name).into_owned();
            Ok((shown, std::thread::Builder::new().spawn_scoped(scope, move || ask(&name, all))?))
        });
        let mut answers = Vec::new();
        for (shown, asking) in asked.collect::<io::Result<Vec<_>>>()? {
            match asking.join().unwrap_or_else(|_| Err(io::Error::other("asking it failed"))) {
                Ok(answer) => answers.push(answer),
                // Gone since the list was read.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => tracing::warn!(%error, "another Odin, `@{shown}`, does not tell what it steers"),
            }
        }
        Ok(answers)
    })
}

/// The abstract names that other Odins listen at.
fn names() -> io::Result<BTreeSet<Vec<u8>>> {
    // Num RefCount Protocol Flags Type St Inode Path
    const ACCEPTS: u32 = 1 << 16;
    let table = std::fs::read("/proc/thread-self/net/unix")?;
    let rows = table.split(|&byte| byte == b'\n').skip(1).filter_map(|row| {
        let mut fields = row.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
        let flags = fields.nth(3).and_then(|flags| u32::from_str_radix(str::from_utf8(flags).ok()?, 16).ok())?;
        let name = fields.nth(3)?.strip_prefix(b"@")?;
        (flags & ACCEPTS != 0 && name.starts_with(NAMES.as_bytes()) && !announce::is_own(name)).then(|| name.to_vec())
    });
    Ok(rows.collect())
}

/// Asks one; what all have answered so far is counted in `all`.
fn ask(name: &[u8], all: &AtomicUsize) -> io::Result<Answer> {
    let deadline = Instant::now() + PATIENCE;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A full queue keeps a connect waiting, too.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
    // Anyone can take a name and keep bindings away by it. That is loud and names its user; not to believe an Odin of
    // another user would take its connections without a word.
    let uid = sockopt::socket_peercred(&socket)?.uid.as_raw();
    let text = read(UnixStream::from(socket), deadline, |more, so_far| {
        let all = if uid == ROOT { 0 } else { all.fetch_add(more, Ordering::Relaxed) + more };
        so_far <= LONGEST_ANSWER && all <= ALL_ANSWERS
    })?;
    let answer = Answer { uid, ..serde_json::from_slice(&text)? };
    match answer.bindings.len() <= abi::MAX_IDS as usize && answer.hidden.len() <= abi::MAX_SOCKETS as usize {
        true => Ok(answer),
        false => Err(io::Error::other("it claims more than any Odin can steer")),
    }
}

/// Reads to the end, as long as there is time and what comes is allowed: by its length, and that of all so far.
fn read(mut stream: UnixStream, deadline: Instant, allowed: impl Fn(usize, usize) -> bool) -> io::Result<Vec<u8>> {
    let (mut text, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(text),
            Ok(count) if !allowed(count, text.len() + count) => {
                return Err(io::Error::other("it, or all of its kind together, tell more than any Odin has to tell"));
            }
            Ok(count) => text.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::TcpListener;

    use rustix::net::socket_with;

    use super::*;

    fn checked(texts: &[String], sockets: &[&TcpListener]) -> Result<(), SteerError> {
        let bindings: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        not_listened(&bindings, &addresses.iter().collect::<Vec<_>>())
    }

    #[test]
    fn an_exact_port_that_listens_is_taken_and_any_port_is_not() {
        let socket = TcpListener::bind("[::]:0").unwrap();
        let (port, sockets) = (socket.local_addr().unwrap().port(), [&socket]);
        checked(&["192.0.2.0/24:*".to_owned(), format!("192.0.2.1:{}", port ^ 1)], &sockets).unwrap();
        let error = checked(&["192.0.2.0/24:*".to_owned(), format!("192.0.2.1:{port}")], &sockets).unwrap_err();
        assert_eq!(error.to_string(), format!("192.0.2.1:{port} is taken by a socket that listens on [::]:{port}"));
    }

    #[test]
    fn a_socket_of_ipv6_alone_leaves_ipv4_to_others() {
        let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        sockopt::set_ipv6_v6only(&socket, true).unwrap();
        rustix::net::bind(&socket, &"[::]:0".parse::<SocketAddr>().unwrap()).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        let only_ipv6 = TcpListener::from(socket);
        let port = only_ipv6.local_addr().unwrap().port();
        checked(&[format!("0.0.0.0:{port}"), format!("192.0.2.1:{port}")], &[&only_ipv6]).unwrap();
        checked(&[format!("0.0.0.0:{port}"), format!("[2001:db8::1]:{port}")], &[&only_ipv6]).unwrap_err();
        // The one behind it is seen.
        let ipv4 = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
        checked(&[format!("192.0.2.1:{port}"), format!("127.0.0.2:{port}")], &[&only_ipv6, &ipv4]).unwrap();
        checked(&[format!("192.0.2.1:{port}"), format!("127.0.0.1:{port}")], &[&only_ipv6, &ipv4]).unwrap_err();
    }
}
