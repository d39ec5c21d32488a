use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
};

use super::*;

fn cut() -> Command {
    Command::Cut(Paths {
        from: "a".into(),
        to: "b".into(),
        one_way: true,
    })
}

/// A server, a loop around it, and where it is.
struct Fixture {
    directory: tempfile::TempDir,
    asked: Vec<Command>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            asked: Vec::new(),
        }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("control.sock")
    }

    /// Serves until `client` has ended; returns what it did.
    fn serve<T: Send>(&mut self, client: impl FnOnce() -> T + Send) -> T {
        let mut server = Server::bind(&self.socket()).unwrap();
        thread::scope(|scope| {
            let client = scope.spawn(client);
            while !client.is_finished() {
                server.serve(|command| {
                    self.asked.push(command.clone());
                    match command {
                        Command::Stop => Answer::Refused {
                            reason: "not now".into(),
                        },
                        _ => Answer::Done(Vec::new()),
                    }
                });
                thread::yield_now();
            }
            client.join().unwrap()
        })
    }
}

#[test]
fn command_arrives_as_it_was_given_and_its_answer_comes_back() {
    let mut t = Fixture::new();
    let client = Client::new(t.socket());
    let answer = t.serve(|| client.ask(&cut()));
    assert_eq!(answer.unwrap(), Answer::Done(Vec::new()));
    assert_eq!(t.asked, [cut()]);
    let refused = t.serve(|| client.ask(&Command::Stop)).unwrap_err();
    assert_eq!(refused.to_string(), "not now");
}

#[test]
fn absent_emulator_is_told_from_one_that_was_killed_and_its_socket_is_used_again() {
    let t = Fixture::new();
    let client = Client::new(t.socket());
    assert!(matches!(
        client.ask(&cut()),
        Err(ClientError::Absent { .. })
    ));
    // As after kill -9: the socket is there, and nobody listens.
    drop(std::os::unix::net::UnixListener::bind(t.socket()).unwrap());
    assert!(matches!(
        client.ask(&cut()),
        Err(ClientError::Absent { .. })
    ));
    let running = Server::bind(&t.socket()).unwrap();
    assert!(matches!(
        Server::bind(&t.socket()),
        Err(ServerError::InUse { .. })
    ));
    drop(running);
    assert!(!t.socket().exists());
}

#[test]
fn file_that_is_no_socket_is_left_alone() {
    let t = Fixture::new();
    std::fs::write(t.socket(), "mine").unwrap();
    assert!(matches!(
        Server::bind(&t.socket()),
        Err(ServerError::Bind { .. })
    ));
    assert_eq!(std::fs::read_to_string(t.socket()).unwrap(), "mine");
}

#[test]
fn line_that_is_no_command_is_refused_and_one_without_an_end_is_cut_off() {
    let mut t = Fixture::new();
    let socket = t.socket();
    let answer = t.serve(|| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"{\"set\": 3}\n").unwrap();
        let mut answer = [0; 40];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    });
    assert!(
        answer.starts_with("{\"refused\":{\"reason\":\"not a command"),
        "{answer}"
    );
    let ended = t.serve(|| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let endless = vec![b'x'; MAX_COMMAND_BYTES + 1];
        // The far end may close before all of it is written.
        let _ = stream.write_all(&endless);
        stream.read(&mut [0]).is_ok_and(|bytes| bytes > 0)
    });
    assert!(!ended);
    assert_eq!(t.asked, []);
}

#[test]
fn more_clients_than_there_are_places_push_the_oldest_out() {
    let mut t = Fixture::new();
    let socket = t.socket();
    let newest = Client::new(&socket);
    let (oldest, answer) = t.serve(|| {
        let mut silent: Vec<_> = (0..20)
            .map(|_| UnixStream::connect(&socket).unwrap())
            .collect();
        let answer = newest.ask(&cut());
        (silent[0].read(&mut [0]).unwrap(), answer)
    });
    assert_eq!(oldest, 0);
    assert!(answer.is_ok());
}

#[test]
fn client_that_says_no_more_and_does_not_read_is_not_waited_on_for_reading() {
    let t = Fixture::new();
    let mut server = Server::bind(&t.socket()).unwrap();
    let mut client = UnixStream::connect(t.socket()).unwrap();
    client.write_all(b"\"show\"\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    // More than the socket's buffers take.
    let long = || Answer::Refused {
        reason: "x".repeat(4 << 20),
    };
    server.serve(|_| long());
    let interests: Vec<Interest> = server.sources().map(|(_, interest)| interest).collect();
    assert_eq!(interests, [Interest::Read, Interest::Write]);
}

#[test]
fn answer_that_is_too_long_is_refused_with_its_length() {
    let t = Fixture::new();
    let client = Client::new(t.socket());
    let mut server = Server::bind(&t.socket()).unwrap();
    let refused = thread::scope(|scope| {
        let asked = scope.spawn(|| client.ask(&cut()));
        while !asked.is_finished() {
            server.serve(|_| Answer::Refused {
                reason: "x".repeat(MAX_ANSWER_BYTES),
            });
            thread::yield_now();
        }
        asked.join().unwrap().unwrap_err()
    });
    assert!(
        refused.to_string().starts_with("the answer has "),
        "{refused}"
    );
}

#[test]
fn socket_that_another_has_bound_meanwhile_is_left_to_it() {
    let t = Fixture::new();
    let first = Server::bind(&t.socket()).unwrap();
    std::fs::remove_file(t.socket()).unwrap();
    let second = Server::bind(&t.socket()).unwrap();
    drop(first);
    assert!(t.socket().exists());
    drop(second);
    assert!(!t.socket().exists());
}
