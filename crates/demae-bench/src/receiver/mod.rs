//! The receiver: a process that answers deliveries and remembers which came, when, and how often.
//!
//! It prints its address on one line and ends when its standard input does, so that it cannot outlive whoever started
//! it. What it does with a request depends on the path:
//!
//! | path | answer |
//! |---|---|
//! | `/ok/LANE` | 200, and the delivery is entered in the [`Ledger`]; LANE tells the copies of one event apart |
//! | `/slow` | 200 after [`SLOW`] |
//! | `/late` | 200 after [`LATE`] |
//! | `/silent` | none, ever |
//! | `/refuse` | 503 |
//! | `/report` | the [`Report`] as JSON |
//! | `/missing?below=N` | the numbers below N that never came, as JSON |

mod ledger;

use std::{cell::RefCell, net::Ipv4Addr, rc::Rc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use self::ledger::Ledger;
pub(crate) use self::ledger::Report;
use crate::{clock, http1, mark::MarkFinder};

/// How long a slow endpoint takes to answer.
const SLOW: Duration = Duration::from_secs(5);
/// How long an endpoint takes that answers just in time for its delivery to succeed.
const LATE: Duration = Duration::from_secs(20);

const BUFFER: usize = 16 * 1024;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const UNKNOWN: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// Receives on one thread until standard input ends. Each event is expected in so many `lanes`.
pub(crate) fn run(lanes: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        let shared = Rc::new(Shared {
            ledger: RefCell::new(Ledger::new(lanes)),
            marks: MarkFinder::new(),
        });
        let (mut input, mut nowhere) = (tokio::io::stdin(), tokio::io::sink());
        tokio::select! {
            failed = accept(&listener, &shared) => failed,
            _ = tokio::io::copy(&mut input, &mut nowhere) => Ok(()),
        }
    });
    // The thread that reads standard input cannot be interrupted.
    runtime.shutdown_background();
    ended
}

#[derive(Debug)]
struct Shared {
    ledger: RefCell<Ledger>,
    marks: MarkFinder,
}

async fn accept(listener: &TcpListener, shared: &Rc<Shared>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            // A connection that breaks is the sender's affair; it sends again.
            let _ = serve(stream, &shared).await;
        });
    }
}

/// What a request calls for.
enum Reaction {
    Answer(&'static [u8]),
    AnswerAfter(Duration),
    Document(String),
    Silence,
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let whole = match http1::request(&buffer)? {
            Some(request) => Some((react(&request, &buffer, shared)?, request.body.end)),
            None => None,
        };
        let Some((reaction, end)) = whole else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        buffer.drain(..end);
        match reaction {
            Reaction::Answer(answer) => stream.write_all(answer).await?,
            Reaction::AnswerAfter(time) => {
                tokio::time::sleep(time).await;
                stream.write_all(OK).await?;
            }
            Reaction::Document(text) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
                stream.write_all((head + &text).as_bytes()).await?;
            }
            // Holds the connection until the sender gives up.
            Reaction::Silence => {
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
                return Ok(());
            }
        }
    }
}

fn react(request: &http1::Request<'_>, buffer: &[u8], shared: &Shared) -> Result<Reaction> {
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    if let Some(lane) = path.strip_prefix("/ok/") {
        let lane = lane.parse().context("no lane")?;
        let mark = shared.marks.find(&buffer[request.body.clone()]);
        shared.ledger.borrow_mut().enter(mark, lane, clock::now());
        return Ok(Reaction::Answer(OK));
    }
    Ok(match path {
        "/slow" => Reaction::AnswerAfter(SLOW),
        "/late" => Reaction::AnswerAfter(LATE),
        "/silent" => Reaction::Silence,
        "/refuse" => Reaction::Answer(REFUSED),
        "/report" => Reaction::Document(serde_json::to_string(&shared.ledger.borrow().report())?),
        "/missing" => {
            let below = query
                .strip_prefix("below=")
                .context("below is missing")?
                .parse()?;
            Reaction::Document(serde_json::to_string(&shared.ledger.borrow().missing(below))?)
        }
        _ => Reaction::Answer(UNKNOWN),
    })
}
