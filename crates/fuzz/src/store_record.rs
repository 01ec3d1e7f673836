//! Stored records: of this version, of an older or newer one, or damaged.

use authd_oauth::{Record, RecordError};
use secrecy::{ExposeSecret, SecretString};

use crate::with_other_secrets;

/// The fields that are secret.
const SECRET: [&str; 5] = ["id_token", "access_token", "refresh_token", "api_key", "client_secret"];

/// Checks the bytes as the text of a record.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Record::from_text(&SecretString::from(text)) {
        Ok(record) => {
            let text_of_record = record.to_text();
            let again = Record::from_text(&text_of_record).expect("a written record can be read");
            assert_eq!(
                again.to_text().expose_secret(),
                text_of_record.expose_secret(),
                "the text must not change"
            );
            assert_eq!(again.generation, record.generation);
            // The debug format does not depend on the secrets.
            if let Some(changed) = with_other_secrets(text.as_bytes(), &SECRET) {
                let others =
                    Record::from_text(&SecretString::from(changed)).expect("only the secrets differ");
                assert_eq!(format!("{record:?}"), format!("{others:?}"), "a secret is visible");
            }
        }
        Err(RecordError::TooNew(version)) => assert!(version > 4),
        // An intent of a newer version.
        Err(RecordError::UnknownIntent) => assert!(text.contains("intent") || text.contains('\\')),
        Err(error @ RecordError::Damaged { .. }) => {
            assert!(error.to_string().len() < 100, "the error must not contain the text: {error}");
        }
    }
}
