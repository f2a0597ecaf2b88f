//! Bars for what takes long: on stderr, and only where somebody sees them.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// How often a bar moves when nothing else moves it.
const TICK: Duration = Duration::from_millis(100);

/// A bar over work of unknown length, invisible where it would be in the way.
pub(crate) fn bar(out: Output) -> ProgressBar {
    if !out.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.set_style(style("{spinner} {human_pos} records  {wide_msg}"));
    bar.enable_steady_tick(TICK);
    bar
}

/// Sets how far the work is, and how long it is as soon as that is known.
pub(crate) fn set(bar: &ProgressBar, done: u64, total: Option<u64>, about: String) {
    if let Some(total) = total {
        if bar.length().is_none() {
            bar.set_style(style("{bar:20} {human_pos}/{human_len} records  {wide_msg}"));
        }
        bar.set_length(total);
    }
    bar.set_position(done);
    bar.set_message(about);
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are well formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_learns_its_length_on_the_way() {
        let bar = ProgressBar::hidden();
        set(&bar, 5, None, "laptop".to_owned());
        assert_eq!((bar.position(), bar.length()), (5, None));
        set(&bar, 9, Some(12), "laptop".to_owned());
        assert_eq!((bar.position(), bar.length()), (9, Some(12)));
        set(&bar, 12, Some(14), "laptop".to_owned());
        assert_eq!((bar.position(), bar.length()), (12, Some(14)));
    }
}
