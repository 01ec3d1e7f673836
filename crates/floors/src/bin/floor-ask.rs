//! The floor under `authctl token`: the same exchange with as little around it as can be.
//! `AUTHD_SOCKET=… floor-ask`

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(std::env::var_os("AUTHD_SOCKET").context("no AUTHD_SOCKET")?)?;
    stream.write_all(b"GET /v1/profiles/-/headers HTTP/1.1\r\nhost: authd\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, rest) = answer.split_once("Bearer ").context("no bearer in the answer")?;
    let (token, _) = rest.split_once('"').context("half a token in the answer")?;
    Ok(writeln!(std::io::stdout().lock(), "{token}")?)
}
