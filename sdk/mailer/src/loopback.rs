//! An SMTP server for demos and tests: accepts mail on loopback and keeps it in memory.
//!
//! Promises: bounded (mails, bytes, sessions, waits); gone when dropped. It says "never" to
//! addresses that begin with `nobody@`, and to mails for those that begin with `spam@`; "later" as
//! often as it is told to; and keeps its yes to itself for as long as it is told to. With a file it
//! is a server that may be killed: a mail is in the file, synced, before the server says yes.
//! Not here on purpose: delivery, any address but loopback's.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mailin::{Action, AuthMechanism, Handler, Response, Session, SessionBuilder, response};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::smtp::Security;

/// Mails kept; then the server says "no room, later". A demo sends one, a test a handful.
const MAILS_MAX: usize = 10_000;
/// Bytes of one mail: notices are short.
const MAIL_BYTES_MAX: usize = 1 << 20;
/// Bytes of one line: RFC 5321 asks for 1,000.
const LINE_BYTES_MAX: u64 = 4 << 10;
/// Sessions at a time: one for each mail under way, and as many that say goodbye.
const SESSIONS_MAX: usize = 64;
/// Silence after which a session ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// One mail as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// How a server is, if it is no plain one on any port.
#[derive(Debug)]
pub struct InboxOptions {
    /// Where to listen, on loopback; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether and when TLS begins; needs `tls`.
    pub security: Security,
    /// The server's certificate and key.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who may send, and with which password; `None`: everyone.
    pub user: Option<(String, String)>,
    /// The file that mails are kept in, a line of JSON each.
    pub file: Option<File>,
}

impl Default for InboxOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            security: Security::Plain,
            tls: None,
            user: None,
            file: None,
        }
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
    /// The server keeps its yes to itself while this is true.
    silent: watch::Sender<bool>,
    user: Option<(String, String)>,
    file: Option<File>,
}

/// What a session is made with.
struct Door {
    kept: Arc<Kept>,
    security: Security,
    tls: Option<TlsAcceptor>,
}

impl Inbox {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the machine gives no port or no thread.
    pub fn start() -> io::Result<Self> {
        Self::start_with(InboxOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// When the machine gives no such port or no thread.
    pub fn start_with(options: InboxOptions) -> io::Result<Self> {
        let InboxOptions { address, security, tls, user, file } = options;
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Kept {
            mails: Mutex::default(),
            later: Mutex::default(),
            count: watch::Sender::new(0),
            silent: watch::Sender::new(false),
            user,
            file,
        });
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let door = Door { kept: kept.clone(), security, tls: tls.map(TlsAcceptor::from) };
        // mailin's sessions may not change threads, so they have one of their own.
        let thread = std::thread::Builder::new().name("loopback-smtp".into()).spawn(move || {
            let sessions = LocalSet::new();
            sessions.block_on(&runtime, async {
                tokio::select! {
                    () = accept(listener, door) => {}
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

    /// Takes mails without saying so, until told otherwise.
    pub fn be_silent(&self, silent: bool) {
        self.kept.silent.send_replace(silent);
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

async fn accept(listener: std::net::TcpListener, door: Door) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let places = Arc::new(tokio::sync::Semaphore::new(SESSIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, peer)) = listener.accept().await else { return };
        let letter = Letter {
            kept: door.kept.clone(),
            from: String::new(),
            to: Vec::new(),
            data: Vec::new(),
        };
        let mut sessions = SessionBuilder::new("localhost");
        if door.security == Security::Starttls {
            sessions.enable_start_tls();
        }
        if door.kept.user.is_some() {
            sessions.enable_auth(AuthMechanism::Plain);
        }
        let session = sessions.build(peer.ip(), letter);
        let (security, tls, kept) = (door.security, door.tls.clone(), door.kept.clone());
        tokio::task::spawn_local(async move {
            // A client that breaks off has its reasons; what it finished is kept.
            let _ = serve(stream, session, security, tls, &kept).await;
            drop(place);
        });
    }
}

async fn serve(
    stream: TcpStream,
    mut session: Session<Letter>,
    security: Security,
    tls: Option<TlsAcceptor>,
    kept: &Kept,
) -> io::Result<()> {
    let no_key = || io::Error::other("TLS without a certificate");
    let greeting = session.greeting();
    if security == Security::Tls {
        let mut stream = tls.ok_or_else(no_key)?.accept(stream).await?;
        session.tls_active();
        stream.write_all(&greeting.buffer()?).await?;
        return converse(BufReader::new(stream), &mut session, kept).await.map(drop);
    }
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(&greeting.buffer()?).await?;
    if let End::UpgradeTls(stream) = converse(stream, &mut session, kept).await? {
        let stream = tls.ok_or_else(no_key)?.accept(stream).await?;
        session.tls_active();
        converse(BufReader::new(stream), &mut session, kept).await?;
    }
    Ok(())
}

/// How a conversation ended.
enum End<S> {
    Goodbye,
    UpgradeTls(S),
}

/// A connection that can be told to acknowledge at once.
trait Quick: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Quick for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Quick for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn converse<S: Quick>(
    mut stream: BufReader<S>,
    session: &mut Session<Letter>,
    kept: &Kept,
) -> io::Result<End<S>> {
    let mut line = Vec::new();
    let mut is_data = false;
    loop {
        line.clear();
        // A mailer sends a mail's text and its end in two pieces, and the second waits for the
        // acknowledgement of the first, which Linux holds back for 40 ms unless told each time.
        #[cfg(target_os = "linux")]
        stream.get_ref().tcp().set_quickack(true)?;
        let mut bounded = (&mut stream).take(LINE_BYTES_MAX);
        if timeout(IDLE_TIMEOUT, bounded.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(End::Goodbye);
        }
        let answer = session.process(&line);
        let was_data = std::mem::replace(&mut is_data, answer.action == Action::NoReply);
        if was_data && !is_data {
            // The sender lives as long as the server.
            let _ = kept.silent.subscribe().wait_for(|silent| !silent).await;
        }
        if answer.action != Action::NoReply {
            stream.get_mut().write_all(&answer.buffer()?).await?;
        }
        match answer.action {
            Action::Close => return Ok(End::Goodbye),
            // What a client sent ahead of TLS is not read: it may be another's.
            Action::UpgradeTls => return Ok(End::UpgradeTls(stream.into_inner())),
            Action::Reply | Action::NoReply => {}
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
    fn auth_plain(&mut self, _acting_as: &str, user: &str, password: &str) -> Response {
        let is_known = self
            .kept
            .user
            .as_ref()
            .is_some_and(|(name, secret)| name == user && secret == password);
        if is_known { response::AUTH_OK } else { response::INVALID_CREDENTIALS }
    }

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
        if self.to.iter().any(|to| to.starts_with("spam@")) {
            return response::TRANSACTION_FAILED;
        }
        let mut mails = lock(&self.kept.mails);
        if mails.len() == MAILS_MAX {
            return response::OUT_OF_SPACE;
        }
        let mail = Mail {
            from: std::mem::take(&mut self.from),
            to: std::mem::take(&mut self.to),
            text: String::from_utf8_lossy(&self.data).replace("\r\n", "\n"),
        };
        if let Some(file) = &self.kept.file
            && keep(file, &mail).is_err()
        {
            return response::OUT_OF_SPACE;
        }
        mails.push(mail);
        self.kept.count.send_replace(mails.len());
        response::OK
    }
}

/// Puts a mail into the file for good.
fn keep(mut file: &File, mail: &Mail) -> io::Result<()> {
    let mut line = serde_json::to_vec(mail)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()
}

/// A panic leaves these lists whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
