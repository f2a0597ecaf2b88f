//! Where a typed code comes from, and how an own one is shown.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use kinsync::request::SecretText;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::failure::{Failure, Result};
use crate::output::WIDTH;

/// The longest line that is read as a code or ticket: a ticket's own limit
/// leaves room to spare.
const LINE_BYTES_MAX: usize = 4096;

/// Takes the code that was given, or asks for it: without echo on a terminal,
/// else as the first line of standard input.
pub(crate) fn typed(code: Option<String>) -> Result<SecretText> {
    let text = match code {
        Some(code) if code != "-" => code,
        Some(_) | None if std::io::stdin().is_terminal() => {
            rpassword::prompt_password("Code: ").context("read the code")?
        }
        Some(_) | None => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).context("read the code")?;
            line
        }
    };
    let code = SecretText::new(text);
    match code.reveal().trim() {
        "" => Err(Failure::usage("No code was given.").hint("Type the one that the other device shows.")),
        text if text.len() > LINE_BYTES_MAX => Err(Failure::usage("That is too long for a code.")),
        text => Ok(SecretText::new(text)),
    }
}

/// Draws a ticket with half blocks, light on dark as most terminals are, or
/// nothing if it would not fit.
pub(crate) fn picture(ticket: &SecretText) -> Option<String> {
    let code = QrCode::with_error_correction_level(ticket.reveal(), EcLevel::L).ok()?;
    let picture = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let columns = picture.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    (columns <= WIDTH).then_some(picture + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_with_a_few_addresses_fits_the_screen() {
        let ticket = SecretText::new(format!("kinsync://pair#{}", "a".repeat(280)));
        let picture = picture(&ticket).unwrap();
        assert!(picture.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(picture.contains('▀') && picture.contains('▄'));
    }

    #[test]
    fn a_ticket_that_does_not_fit_is_not_drawn() {
        assert_eq!(picture(&SecretText::new("a".repeat(2000))), None);
    }

    #[test]
    fn a_given_code_needs_no_prompt() {
        assert_eq!(typed(Some(" kxnr 7842 ".to_owned())).unwrap().reveal(), "kxnr 7842");
        assert_eq!(typed(Some("  ".to_owned())).unwrap_err().code(), "usage");
        assert_eq!(typed(Some("x".repeat(4097))).unwrap_err().code(), "usage");
    }
}
