//! CRC32c (RFC 4960, appendix B; the Castagnoli polynomial), by which a header of version 2 may protect itself.

/// The polynomial, with its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

/// The checksum of these parts, one behind the other.
pub(super) fn of(parts: &[&[u8]]) -> u32 {
    let add = |sum: u32, byte: &u8| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8);
    !parts.iter().copied().flatten().fold(u32::MAX, add)
}
