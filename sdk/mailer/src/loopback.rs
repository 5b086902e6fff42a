//! An SMTP server for demos and tests: accepts mail on loopback and keeps it in memory.
//!
//! Promises: bounded (mails, bytes, sessions, waits); gone when dropped. It says "never" to
//! addresses that begin with `nobody@`, and "later" as often as it is told to.
//! Not here on purpose: delivery, TLS, any address but 127.0.0.1.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mailin::{Action, Handler, Response, Session, SessionBuilder, response};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Mails kept; then the server says "no room, later". A demo sends one, a test a handful.
const MAILS_MAX: usize = 10_000;
/// Bytes of one mail: notices are short.
const MAIL_BYTES_MAX: usize = 1 << 20;
/// Bytes of one line: RFC 5321 asks for 1,000.
const LINE_BYTES_MAX: u64 = 4 << 10;
/// Sessions at a time: one per mailer.
const SESSIONS_MAX: usize = 16;
/// Silence after which a session ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// One mail as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers, an empty line, the body; lines end with `\n`.
    pub text: String,
}

impl Mail {
    /// The value of the first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.lines().take_while(|line| !line.is_empty());
        let fields = head.filter_map(|line| line.split_once(": "));
        fields
            .into_iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// What follows the headers.
    pub fn body(&self) -> &str {
        self.text.split_once("\n\n").map_or("", |(_, body)| body)
    }
}

/// A running server with the mails it took.
#[derive(Debug)]
pub struct Inbox {
    address: SocketAddr,
    kept: Arc<Kept>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Kept {
    mails: Mutex<Vec<Mail>>,
    /// How many recipients still hear "later".
    later: Mutex<u32>,
    count: watch::Sender<usize>,
}

impl Inbox {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the machine gives no port or no thread.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Kept {
            mails: Mutex::default(),
            later: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = kept.clone();
        // mailin's sessions may not change threads, so they have one of their own.
        let thread = std::thread::Builder::new().name("loopback-smtp".into()).spawn(move || {
            let sessions = LocalSet::new();
            sessions.block_on(&runtime, async {
                tokio::select! {
                    () = accept(listener, inside) => {}
                    // Told to stop, or its owner is gone: the same.
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, kept, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says "later" to the next `count` recipients.
    pub fn be_busy(&self, count: u32) {
        *lock(&self.kept.later) = count;
    }

    /// The mails so far, in the order they came.
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.kept.mails).clone()
    }

    /// Waits until at least `count` mails are there, and returns all.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        let mut counts = self.kept.count.subscribe();
        // The sender lives as long as `self`.
        let _ = counts.wait_for(|&kept| count <= kept).await;
        self.mails()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed already; there is nothing to add.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener, kept: Arc<Kept>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let places = Arc::new(tokio::sync::Semaphore::new(SESSIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, peer)) = listener.accept().await else { return };
        let letter =
            Letter { kept: kept.clone(), from: String::new(), to: Vec::new(), data: Vec::new() };
        let session = SessionBuilder::new("localhost").build(peer.ip(), letter);
        tokio::task::spawn_local(async move {
            // A client that breaks off has its reasons; what it finished is kept.
            let _ = converse(stream, session).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, mut session: Session<Letter>) -> io::Result<()> {
    let (receive, mut send) = stream.into_split();
    let mut receive = BufReader::new(receive);
    send.write_all(&session.greeting().buffer()?).await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        // A mailer sends a mail's text and its end in two pieces, and the second waits for the
        // acknowledgement of the first, which Linux holds back for 40 ms unless told each time.
        #[cfg(target_os = "linux")]
        receive.get_ref().as_ref().set_quickack(true)?;
        let mut bounded = (&mut receive).take(LINE_BYTES_MAX);
        if timeout(IDLE_TIMEOUT, bounded.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let answer = session.process(&line);
        if answer.action != Action::NoReply {
            send.write_all(&answer.buffer()?).await?;
        }
        if answer.action == Action::Close {
            return Ok(());
        }
    }
}

/// What a session has heard of its mail so far.
struct Letter {
    kept: Arc<Kept>,
    from: String,
    to: Vec<String>,
    data: Vec<u8>,
}

impl Handler for Letter {
    fn mail(&mut self, _ip: IpAddr, _domain: &str, from: &str) -> Response {
        self.from = from.to_owned();
        self.to.clear();
        self.data.clear();
        response::OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        if to.starts_with("nobody@") {
            return response::NO_MAILBOX;
        }
        let mut later = lock(&self.kept.later);
        if 0 < *later {
            *later -= 1;
            return response::INTERNAL_ERROR;
        }
        self.to.push(to.to_owned());
        response::OK
    }

    fn data(&mut self, line: &[u8]) -> io::Result<()> {
        if MAIL_BYTES_MAX < self.data.len() + line.len() {
            return Err(io::Error::other("the mail is too long"));
        }
        self.data.extend_from_slice(line);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let mut mails = lock(&self.kept.mails);
        if mails.len() == MAILS_MAX {
            return response::OUT_OF_SPACE;
        }
        mails.push(Mail {
            from: std::mem::take(&mut self.from),
            to: std::mem::take(&mut self.to),
            text: String::from_utf8_lossy(&self.data).replace("\r\n", "\n"),
        });
        self.kept.count.send_replace(mails.len());
        response::OK
    }
}

/// A panic leaves these lists whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
