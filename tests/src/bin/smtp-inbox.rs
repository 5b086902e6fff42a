//! An SMTP server in a process of its own, so that it can be killed: `smtp-inbox ADDRESS FILE`. A mail
//! is in the file, a line of JSON, before the server says yes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::fs::File;

use weir_mailer::loopback::{Inbox, InboxOptions};

fn main() {
    let mut words = std::env::args().skip(1);
    let (address, file) = (words.next().unwrap().parse().unwrap(), words.next().unwrap());
    let file = File::options().create(true).append(true).open(file).unwrap();
    let options = InboxOptions { address, file: Some(file), ..InboxOptions::default() };
    let inbox = Inbox::start_with(options).unwrap();
    println!("ready {}", inbox.address());
    loop {
        std::thread::park();
    }
}
