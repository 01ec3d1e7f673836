//! The server-sent events that `authctl ask` reads: however they are cut and whatever they hold.

use authctl::sse::{Event, Reader};

/// The bytes as one stream, whose first byte says where it is cut.
pub fn check(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = read([stream]);
    let pieces = read(stream.chunks(usize::from(cut) + 1));
    assert_eq!(whole, pieces, "the pieces in which a stream comes must not matter");
    let held: usize = whole.iter().map(length).sum();
    assert!(held <= stream.len(), "{held} bytes of events in {} bytes of stream", stream.len());
    // A proxy may have written the lines' ends anew.
    if !stream.contains(&b'\r') {
        let crlf = stream.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(b"\r\n".as_slice());
        assert_eq!(whole, read([crlf.as_slice()]), "CRLF must mean what LF means");
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut reader = Reader::default();
    // Only a stream of many megabytes is too long, and none here is.
    pieces.into_iter().flat_map(|piece| reader.push(piece).expect("short enough")).collect()
}

/// How much text an event holds.
fn length(event: &Event) -> usize {
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match event {
        Event::Delta(text) | Event::Message(text) => text.len(),
        Event::Completed { id, model, .. } => of(id) + of(model),
        Event::Failed { code, message } => of(code) + of(message),
        Event::Incomplete { reason } => of(reason),
    }
}
