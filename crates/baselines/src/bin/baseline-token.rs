//! Baseline for `authctl token`: the same HTTP exchange without argument parsing and error
//! messages. Usage: `AUTHD_SOCKET=… baseline-token`

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let mut stream =
        UnixStream::connect(std::env::var_os("AUTHD_SOCKET").context("AUTHD_SOCKET is not set")?)?;
    stream.write_all(b"GET /v1/profiles/-/headers HTTP/1.1\r\nhost: authd\r\nconnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (_, rest) = response.split_once("Bearer ").context("the response has no bearer token")?;
    let (token, _) = rest.split_once('"').context("the response ends in the token")?;
    Ok(writeln!(std::io::stdout().lock(), "{token}")?)
}
