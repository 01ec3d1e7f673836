//! PKCE and the state parameter.

use authd_oauth::{State, Verifier};

#[test]
fn challenge_is_that_of_rfc_7636_appendix_b() {
    let verifier = Verifier::from_text("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
    assert_eq!(verifier.challenge().as_str(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}

#[test]
fn lengths_are_those_of_the_codex_cli() {
    let (verifier, state) = (Verifier::generate(), State::generate());
    assert_eq!(verifier.expose().len(), 86);
    assert_eq!(verifier.challenge().as_str().len(), 43);
    assert_eq!(state.as_str().len(), 43);
    assert_ne!(verifier.expose(), Verifier::generate().expose());
}

#[test]
fn known_suffix_is_removed_from_the_state_once() {
    let suffix = ".onboarding_entrypoint=life_sciences";
    assert_eq!(State::from_returned(&format!("abc{suffix}")).as_str(), "abc");
    assert_ne!(State::from_returned(&format!("abc{suffix}{suffix}")).as_str(), "abc");
    assert_ne!(State::from_returned("abc.onboarding_entrypoint=other").as_str(), "abc");
}
