//! The network between a weir process and the brokers, as a TCP proxy that can be cut, held up and slowed down.
//!
//! Each process has a [`Link`] of its own, over which it reaches every broker: brokers have a listener per process that
//! has clients connect to that process's proxy. Requests are passed on whole, so that produce requests can be distinguished
//! from others: to hold these alone is what a slow disk does.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What a link does with what comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Passes it on.
    Open,
    /// Closes every connection, the new ones at once.
    Refused,
    /// Passes nothing on, and closes nothing: it all comes later.
    Held,
    /// Passes on all but produce requests, which come later.
    ProduceHeld,
    /// Takes its time for each piece.
    Slow { latency: Duration, bytes_per_s: u32 },
}

/// The network of one process.
pub(crate) struct Link {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    /// Counts the times that all connections were closed.
    closed: u64,
    /// Both ends of every connection since.
    open: Vec<TcpStream>,
}

impl Link {
    /// An open one.
    pub(crate) fn new() -> Arc<Link> {
        let state = State { mode: Mode::Open, closed: 0, open: Vec::new() };
        Arc::new(Link { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Changes what the link does.
    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.state.lock().unwrap();
        state.mode = mode;
        if mode == Mode::Refused {
            state.closed += 1;
            for stream in state.open.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.changed.notify_all();
    }

    /// Passes what comes to `listener` on to `broker`, for ever.
    pub(crate) fn serve(self: &Arc<Link>, listener: TcpListener, broker: SocketAddr) {
        let link = self.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                // A client that is gone again, a broker that is away: the connection is closed.
                let _ = client.and_then(|client| link.connect(client, broker));
            }
        });
    }

    fn connect(self: &Arc<Link>, client: TcpStream, broker: SocketAddr) -> io::Result<()> {
        if self.state.lock().unwrap().mode == Mode::Refused {
            return Ok(());
        }
        let broker = TcpStream::connect(broker)?;
        for stream in [&client, &broker] {
            stream.set_nodelay(true)?;
        }
        let (client_too, broker_too) = (client.try_clone()?, broker.try_clone()?);
        let closed = {
            let mut state = self.state.lock().unwrap();
            if state.mode == Mode::Refused {
                return Ok(());
            }
            // Those that were closed by their ends are of no use here.
            state.open.retain(|stream| stream.peer_addr().is_ok());
            state.open.extend([client.try_clone()?, broker.try_clone()?]);
            state.closed
        };
        let link = self.clone();
        thread::spawn(move || link.pass_requests(client, broker_too, closed));
        let link = self.clone();
        thread::spawn(move || link.pass_answers(broker, client_too, closed));
        Ok(())
    }

    fn pass_requests(&self, mut client: TcpStream, mut broker: TcpStream, closed: u64) {
        let mut request = Vec::new();
        let mut pass = || -> io::Result<()> {
            loop {
                // The length of what follows, which begins with the request's kind.
                request.resize(4, 0);
                client.read_exact(&mut request)?;
                let length = i32::from_be_bytes([request[0], request[1], request[2], request[3]]);
                request.resize(4 + usize::try_from(length).map_err(io::Error::other)?, 0);
                client.read_exact(&mut request[4..])?;
                let is_produce = request.get(4..6) == Some(&[0, 0]);
                self.gate(request.len(), is_produce, closed)?;
                broker.write_all(&request)?;
            }
        };
        let _ = pass();
        let _ = broker.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    }

    fn pass_answers(&self, mut broker: TcpStream, mut client: TcpStream, closed: u64) {
        let mut buffer = [0; 16_384];
        let mut pass = || -> io::Result<()> {
            loop {
                let length = broker.read(&mut buffer)?;
                if length == 0 {
                    return Ok(());
                }
                self.gate(length, false, closed)?;
                client.write_all(&buffer[..length])?;
            }
        };
        let _ = pass();
        let _ = broker.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    }

    /// Waits until so many bytes may pass. The error is that their connection was closed meanwhile.
    fn gate(&self, bytes: usize, is_produce: bool, closed: u64) -> io::Result<()> {
        let held = |state: &mut State| {
            state.closed == closed && (state.mode == Mode::Held || state.mode == Mode::ProduceHeld && is_produce)
        };
        let state = self.changed.wait_while(self.state.lock().unwrap(), held).unwrap();
        if state.closed != closed {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let mode = state.mode;
        drop(state);
        if let Mode::Slow { latency, bytes_per_s } = mode {
            thread::sleep(latency + Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_s)));
        }
        Ok(())
    }
}
