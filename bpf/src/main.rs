//! Sends new connections to Odin's workers: by protocol, port and longest prefix of the dialled address to a binding,
//! from there to one of its slots, and to the socket that the slot names. What belongs to nobody passes untouched; what
//! is Odin's but has no socket is refused. It knows nothing of listeners or weights: the loader's tables do.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;
use core::ptr::{addr_of, read_volatile};

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::macros::{map, sk_lookup};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, LpmTrie, SockMap};
use aya_ebpf::programs::SkLookupContext;
use odin_steer_abi as abi;

#[map]
static PORTS: Array<u64> = Array::with_max_entries(abi::MAX_PORTS, 0);
#[map]
static NETWORKS: Array<abi::Network> = Array::with_max_entries(abi::MAX_NETWORKS, 0);
#[map]
static BINDINGS: LpmTrie<abi::Key, u32> = LpmTrie::with_max_entries(abi::MAX_KEYS, BPF_F_NO_PREALLOC);
#[map]
static GROUPS: Array<u64> = Array::with_max_entries(abi::MAX_IDS, 0);
#[map]
static SLOTS: Array<u32> = Array::with_max_entries(abi::MAX_SLOTS, 0);
#[map]
static SOCKETS: SockMap = SockMap::with_max_entries(abi::MAX_SOCKETS, 0);
#[map]
static STATS: Array<u64> = Array::with_max_entries(abi::MAX_STATS, 0);

/// Named by [`abi::SECRET`]; the loader puts another word there.
#[unsafe(no_mangle)]
static SECRET: Global<u32> = Global::new(0);

const IPV4: u32 = 2;
/// The slot was chosen by Odin; a group of SO_REUSEPORT must not choose again. Of the kernel's, missing in aya.
const BPF_SK_LOOKUP_F_NO_REUSEPORT: u64 = 2;

/// Named by [`abi::PROGRAM`].
#[sk_lookup]
pub fn odin_steer(context: SkLookupContext) -> u32 {
    // Every field is read once, whatever the family: LLVM must not merge loads, or the verifier refuses the program with
    // "dereference of modified ctx ptr".
    macro_rules! read {
        ($($field:tt)+) => {
            // SAFETY: the kernel hands a context that lives as long as the program runs.
            unsafe { read_volatile(addr_of!((*context.lookup).$($field)+)) }
        };
    }
    let family = read!(family);
    let protocol = read!(protocol) as u8;
    let (local_port, remote_port) = (read!(local_port), u32::from(read!(remote_port)));
    let (local4, remote4) = (read!(local_ip4), read!(remote_ip4));
    let local6 = [read!(local_ip6[0]), read!(local_ip6[1]), read!(local_ip6[2]), read!(local_ip6[3])];
    let remote6 = [read!(remote_ip6[0]), read!(remote_ip6[1]), read!(remote_ip6[2]), read!(remote_ip6[3])];
    let (local, remote) = if family == IPV4 { (abi::mapped(local4), abi::mapped(remote4)) } else { (local6, remote6) };

    if protocol != abi::TCP {
        return SK_PASS;
    }
    // One for this port comes before one for any port.
    let Some(id) = binding(local_port as u16, local).or_else(|| binding(abi::ANY_PORT, local)) else { return SK_PASS };
    if id == abi::PASS {
        return SK_PASS;
    }
    let Some(&group) = GROUPS.get(id) else { return SK_DROP };
    let hash = abi::hash(SECRET.load(), remote, remote_port, local_port);
    let steered = abi::count(group) != 0
        && SLOTS
            .get(abi::slot(group, hash))
            .is_some_and(|&socket| SOCKETS.redirect_sk_lookup(&context, socket, BPF_SK_LOOKUP_F_NO_REUSEPORT).is_ok());
    if let Some(counter) = STATS.get_ptr_mut(abi::stat(id, steered)) {
        // SAFETY: an entry of an array map lives as long as the map.
        unsafe { increment(counter) };
    }
    if steered { SK_PASS } else { SK_DROP }
}

/// The binding of a port with the longest prefix of an address.
#[inline(always)]
fn binding(port: u16, address: [u32; 4]) -> Option<u32> {
    match *PORTS.get(u32::from(port))? {
        abi::NONE => None,
        abi::MANY => {
            let key = Key::new(abi::KEY_BITS + 128, abi::key(abi::TCP, port, address));
            BINDINGS.get(&key).copied()
        }
        one => abi::has(NETWORKS.get(abi::network(one))?, address).then_some(abi::id(one)),
    }
}

/// Adds one to a counter that every processor adds to.
#[inline(always)]
unsafe fn increment(counter: *mut u64) {
    // `AtomicU64` cannot add on this target. This is the one form of an addition that kernels before 5.12 know.
    unsafe { asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1_u64) };
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The kernel lets only programs with a licence that it knows call its helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
