//! The parser of server-sent events in `authctl ask`, with any content and any division into
//! pieces.

use authctl::sse::{Event, Reader};

/// Checks a stream. The first byte sets the size of the pieces.
pub fn check(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let events = read([stream]);
    let pieces = read(stream.chunks(usize::from(size) + 1));
    assert_eq!(events, pieces, "the division of a stream into pieces must not matter");
    let total: usize = events.iter().map(length).sum();
    assert!(total <= stream.len(), "{total} bytes of events in {} bytes of stream", stream.len());
    // A proxy may change the line ends.
    if !stream.contains(&b'\r') {
        let crlf = stream.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(b"\r\n".as_slice());
        assert_eq!(events, read([crlf.as_slice()]), "CRLF must mean the same as LF");
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut reader = Reader::default();
    // The limit is many megabytes, more than any input here.
    pieces.into_iter().flat_map(|piece| reader.push(piece).expect("below the limit")).collect()
}

/// The length of the texts of an event, in bytes.
fn length(event: &Event) -> usize {
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match event {
        Event::Delta(text) | Event::Message(text) => text.len(),
        Event::Completed { id, model, .. } => of(id) + of(model),
        Event::Failed { code, message } => of(code) + of(message),
        Event::Incomplete { reason } => of(reason),
    }
}
