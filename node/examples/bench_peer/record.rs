//! The records that are measured: chat messages of 300 bytes, each a pure
//! function of its number and its generation.
//!
//! The text is drawn from a few hundred syllables, so it packs about as well as
//! prose does.

/// Bytes of every record.
const BYTES: usize = 300;

/// Messages of one chat.
const CHAT: u64 = 100;

const SYLLABLES: [&str; 32] = [
    "ar", "ben", "ca", "dor", "el", "fi", "gan", "ho", "in", "jor", "ka", "lem", "mi", "nor", "ol", "pe",
    "qui", "ras", "sen", "ti", "ul", "ver", "wa", "xi", "yon", "ze", "ash", "eth", "ing", "or", "and", "the",
];

/// The key of record `i`: its chat, and its place there.
pub(crate) fn id(i: u64) -> String {
    format!("c{:05}/{i:07}", i / CHAT)
}

/// The value of record `i` in a generation.
pub(crate) fn record(i: u64, generation: u64) -> String {
    let role = if i.is_multiple_of(2) { "user" } else { "char" };
    let mut text = format!(r#"{{"role":"{role}","order":"{i:07}","generation":{generation},"text":""#);
    // Mixed first: the words of one record must not be those of the next one, moved on by one.
    let mut state = mix(mix(i).wrapping_add(generation));
    while text.len() < BYTES - 2 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = mix(state);
        for place in 0..1 + mixed % 3 {
            let syllable = usize::try_from((mixed >> (8 + 5 * place)) % 32).unwrap_or_default();
            text.push_str(SYLLABLES.get(syllable).copied().unwrap_or_default());
        }
        text.push(' ');
    }
    text.truncate(BYTES - 2);
    text.push_str("\"}");
    text
}

/// The last step of splitmix64.
fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
