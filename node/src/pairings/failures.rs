//! How pairings fail, in words. None of them holds a code.

use kinsync_protocol::code::ParseCodeError;
use kinsync_protocol::pairing::host::Closing;
use kinsync_protocol::pairing::joiner::Failure as Reason;
use kinsync_protocol::ticket::ParseTicketError;
use libp2p::Multiaddr;

use super::joining::SILENCE_MAX;
use super::{JOINS_MAX, UNASKED_LIFETIME_MAX, WINDOWS_MAX};
use crate::failure::{Failure, Kind};

/// What a search has tried, for the message when it was in vain.
pub(super) struct Search {
    /// The only place that was looked at.
    pub(super) address: Option<Multiaddr>,
    pub(super) mdns: bool,
    pub(super) interfaces: usize,
    /// Devices that were noticed.
    pub(super) seen: usize,
    /// Devices that were reached.
    pub(super) reached: usize,
    /// Strangers that show another code.
    pub(super) others: usize,
    /// Whether this very device shows a code that begins the same.
    pub(super) is_ours: bool,
}

pub(super) fn no_code(error: &ParseCodeError) -> Failure {
    Failure::new(Kind::BadCode, format!("That is not a pairing code: {error}."))
        .hint("Look at the other screen again. No try was spent.")
}

pub(super) fn no_ticket(error: &ParseTicketError) -> Failure {
    Failure::new(Kind::BadCode, format!("That is not a pairing ticket: {error}."))
        .hint("Scan it again, or type the code instead. No try was spent.")
}

pub(super) fn two_devices() -> Failure {
    Failure::new(Kind::BadAddress, "The address names another device than the ticket.")
        .hint("Leave the address out: the ticket knows where its device is.")
}

pub(super) fn own_code() -> Failure {
    Failure::new(Kind::BadCode, "That is this device's own code.").hint("Enter it on the other device.")
}

pub(super) fn too_many_windows() -> Failure {
    Failure::new(Kind::Busy, format!("{WINDOWS_MAX} pairing codes are open already."))
        .hint("Use one of them, or stop one with Ctrl+C.")
}

pub(super) fn too_many_joins() -> Failure {
    Failure::new(Kind::Busy, format!("{JOINS_MAX} codes are being looked for already."))
        .hint("Wait until one has ended.")
}

pub(super) fn unasked_for_too_long() -> Failure {
    let minutes = UNASKED_LIFETIME_MAX.as_secs() / 60;
    Failure::new(
        Kind::BadRequest,
        format!("A code that lets anybody in unasked lasts at most {minutes} minutes."),
    )
    .hint("Use a shorter --expires, or leave --yes out.")
}

pub(super) fn no_such_pairing(id: u64) -> Failure {
    Failure::new(Kind::NotFound, format!("There is no pairing {id}, or it has ended."))
}

pub(super) fn nothing_to_answer() -> Failure {
    Failure::new(Kind::BadRequest, "Nobody waits for an answer in this pairing.")
        .hint("The answer is given on the device that shows the code, after the other one has entered it.")
}

pub(super) fn cancelled() -> Failure {
    Failure::new(Kind::Rejected, "The pairing was stopped on this device.")
}

pub(super) fn renewed() -> Failure {
    Failure::new(Kind::CodeVoid, "This device has a new key, so this pairing has ended.")
        .hint("Pair again:  kinsync pair")
}

/// Why a window closed without trust.
pub(super) fn closed(closing: Closing, guest: Option<&str>, declined: bool) -> Failure {
    let guest = guest.unwrap_or("the other device");
    let again = "For another try:  kinsync pair";
    match closing {
        Closing::Burned => {
            Failure::new(Kind::CodeVoid, "3 wrong codes were entered, so the code is void.").hint(again)
        }
        Closing::Expired => {
            Failure::new(Kind::Expired, "The code has expired; nobody has entered it.").hint(again)
        }
        Closing::GuestLeft => {
            Failure::new(Kind::Unreachable, format!("The connection to {guest} was lost, nobody is trusted."))
                .hint(again)
        }
        Closing::Rejected if declined => {
            Failure::new(Kind::Rejected, format!("{guest} was turned away, nobody is trusted."))
        }
        Closing::Rejected => {
            Failure::new(Kind::Rejected, format!("Nobody answered in time, so {guest} was turned away."))
                .hint(again)
        }
        Closing::Withdrawn => Failure::new(Kind::CodeVoid, "The code was taken back on this device."),
        // The protocol says this only after it has said whom to trust.
        Closing::Paired => Failure::internal("paired with nobody"),
    }
}

/// Why a typed code led nowhere.
pub(super) fn joining(reason: Reason, search: &Search) -> Failure {
    let fresh = "Ask for a new one:  kinsync pair, on the other device.";
    match reason {
        Reason::NobodyAnswered => nobody(search),
        Reason::NoSuchCode if search.others == 0 => nobody(search),
        Reason::NoSuchCode => Failure::new(
            Kind::WrongCode,
            "Wrong code: a device here shows a code, and it begins differently. No try was spent.",
        )
        .hint("Look at the first two letters again."),
        Reason::Lost => Failure::new(Kind::Unreachable, "The connection to the other device was lost.")
            .hint("If its code is still open, enter it again."),
        Reason::Busy => Failure::new(Kind::Busy, "The other device is busy with other pairings.")
            .hint("Try again in a few seconds."),
        Reason::BadMessage | Reason::Version => {
            Failure::new(Kind::Incompatible, "The two devices do not understand each other.")
                .hint("Install the same version of kinsync on both.")
        }
        Reason::NotThatDevice => Failure::new(
            Kind::WrongCode,
            "The device that answered does not know this code: it is not the one you mean. Nobody is trusted.",
        )
        .hint("Somebody may be listening. Try again with a fresh code, or with --addr."),
        Reason::HostRevoked { host } => Failure::new(
            Kind::Revoked,
            format!("{} shows the code, and that device was removed from this set.", host.short()),
        )
        .hint("To bring it back, show a code on this device and enter it on that one."),
        Reason::KeyRevoked { host } => {
            Failure::new(Kind::Revoked, format!("{} says that this device was removed from its set.", host.short()))
                .hint("If that is so, pair again with a new key:  kinsync down; kinsync init --renew")
        }
        Reason::Burned => {
            Failure::new(Kind::CodeVoid, "That code is void: it was used, or guessed at three times.").hint(fresh)
        }
        Reason::Expired => Failure::new(Kind::Expired, "That code has expired.").hint(fresh),
        Reason::Rejected => {
            Failure::new(Kind::Rejected, "The other device declined, or nobody answered there.")
                .hint("If that was a slip, ask for a new code.")
        }
        Reason::WrongCode { tries_left } => wrong_code(tries_left),
        // A reason of a newer protocol.
        reason => Failure::internal(reason),
    }
}

fn wrong_code(tries_left: u8) -> Failure {
    let message = match tries_left {
        0 => "Wrong code. It was the last try: the code is void.".to_owned(),
        1 => "Wrong code. 1 try left, then the code is void.".to_owned(),
        left => format!("Wrong code. {left} tries left, then the code is void."),
    };
    let hint = match tries_left {
        0 => "Ask for a new one:  kinsync pair, on the other device.",
        _ => "Look at the other screen again and type it once more.",
    };
    let failure = Failure::new(Kind::WrongCode, message).hint(hint);
    Failure { tries_left: Some(tries_left), ..failure }
}

/// P11: what was checked, why probably, and what to try.
fn nobody(search: &Search) -> Failure {
    if search.is_ours {
        let text = "No other device shows this code; this device shows one that begins the same.";
        return Failure::new(Kind::Unreachable, text).hint("A code is entered on the other device.");
    }
    if let Some(address) = &search.address {
        let failure = match search.reached {
            0 => Failure::new(Kind::Unreachable, format!("No device answers at {address}.")),
            _ => Failure::new(
                Kind::Unreachable,
                format!("The device at {address} answers, and shows no such code."),
            ),
        };
        return failure.hint("Is kinsync up there, is the code still open, and is no firewall between?");
    }
    let mdns = match (search.mdns, search.seen) {
        (false, _) => "mDNS is switched off".to_owned(),
        (true, 0) => format!("mDNS (no replies in {} s)", SILENCE_MAX.as_secs()),
        (true, 1) => "mDNS (1 device, which shows no such code)".to_owned(),
        (true, seen) if search.reached < seen => {
            format!("mDNS ({seen} devices, {} reached, none shows such a code)", search.reached)
        }
        (true, seen) => format!("mDNS ({seen} devices, none shows such a code)"),
    };
    let interfaces = match search.interfaces {
        1 => "1 interface".to_owned(),
        count => format!("{count} interfaces"),
    };
    let message = format!("No device answers on this network. Checked: {mdns}, {interfaces}.");
    let likely = match (search.mdns, search.seen) {
        (false, _) => "Switch it on (kinsync config set mdns on), or say where the other device is",
        (true, 0) => "Likely: different network, guest Wi-Fi, or a firewall on UDP 5353",
        (true, _) => "Likely: the code is not open any more, or its device is on a different network",
    };
    Failure::new(Kind::Unreachable, message)
        .hint(format!("{likely}. Try:  kinsync pair CODE --addr 192.168.1.20   or   kinsync doctor"))
}
