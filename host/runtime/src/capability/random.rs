//! `odin:plugin/random`: random numbers from the system's generator. Must never answer with fewer than asked.

use rustix::rand::{GetRandomFlags, getrandom};
use wasmtime::{Result, ensure};

use crate::store::{Ctx, Link};

/// One call gives so many bytes at most.
const MAX_BYTES: u32 = 64 << 10;

pub(crate) fn link(linker: &mut Link) -> Result<()> {
    let mut random = linker.instance("odin:plugin/random@0.1.0")?;
    random.func_wrap("next", |_: Ctx<'_>, (): ()| {
        let mut bytes = [0; 8];
        fill(&mut bytes)?;
        Ok((u64::from_ne_bytes(bytes),))
    })?;
    random.func_wrap("bytes", |_: Ctx<'_>, (count,): (u32,)| {
        ensure!(count <= MAX_BYTES, "{count} random bytes at once: {MAX_BYTES} is the most");
        let mut bytes = vec![0; count as usize];
        fill(&mut bytes)?;
        Ok((bytes,))
    })
}

/// The system may give less than it is asked for when a signal comes.
fn fill(mut rest: &mut [u8]) -> Result<()> {
    while !rest.is_empty() {
        match getrandom(&mut *rest, GetRandomFlags::empty()) {
            Ok(filled) => rest = &mut rest[filled..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => wasmtime::bail!("the system's random generator failed: {error}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_filled() {
        let (mut one, mut two) = ([0; 1024], [0; 1024]);
        fill(&mut one).unwrap();
        fill(&mut two).unwrap();
        assert_ne!(one, two);
        assert!(one[1000..].iter().any(|&byte| byte != 0));
    }
}
