//! Progress bars for long work, where stderr is a terminal; elsewhere they draw nothing.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over a number of bytes.
pub fn over_bytes(total: u64, what: &'static str) -> ProgressBar {
    bar(Some(total), what, "{msg:10} {wide_bar} {bytes} of {total_bytes}")
}

/// A bar over a number of events; a mere count where nobody knows how many there will be.
pub fn over_events(total: Option<u64>, what: &'static str) -> ProgressBar {
    match total {
        Some(_) => {
            bar(total, what, "{msg:10} {wide_bar} {human_pos} of {human_len} events, {per_sec}")
        }
        None => bar(None, what, "{msg:10} {human_pos} events, {per_sec}"),
    }
}

fn bar(total: Option<u64>, what: &'static str, template: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(template).expect("the templates above are well-formed");
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::no_length(),
    };
    bar.with_style(style).with_message(what)
}
