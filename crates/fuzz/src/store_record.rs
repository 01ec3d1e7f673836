//! A record at rest, as the store may give it back: ours, an older or newer program's, or damaged.

use authd_oauth::{Record, RecordError};
use secrecy::{ExposeSecret, SecretString};

use crate::blanked;

/// The fields that are secret.
const SECRET: [&str; 4] = ["id_token", "access_token", "refresh_token", "api_key"];

/// The bytes as the record's text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Record::from_text(&SecretString::from(text)) {
        Ok(record) => {
            let kept = record.to_text();
            let again = Record::from_text(&kept).expect("what was written can be read");
            assert_eq!(again.to_text().expose_secret(), kept.expose_secret(), "it is kept as it is");
            assert_eq!(again.generation, record.generation);
            // Other secrets, and nothing that is shown is another.
            if let Some(blanked) = blanked(text.as_bytes(), &SECRET) {
                let others = Record::from_text(&SecretString::from(blanked)).expect("the same but for them");
                assert_eq!(format!("{record:?}"), format!("{others:?}"), "a secret is shown");
            }
        }
        Err(RecordError::TooNew(version)) => assert!(version > 2),
        // A move that a newer program began.
        Err(RecordError::UnknownIntent) => assert!(text.contains("intent") || text.contains('\\')),
        Err(error @ RecordError::Damaged { .. }) => {
            assert!(error.to_string().len() < 100, "a place, and nothing of the text: {error}");
        }
    }
}
