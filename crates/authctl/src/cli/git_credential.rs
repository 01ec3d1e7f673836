//! The arguments of `git-credential`.

use clap::Args;

#[derive(Args, Debug)]
pub(crate) struct GitCredentialArgs {
    /// get, store or erase, as git adds it; any other operation is ignored
    #[arg(value_name = "OPERATION")]
    pub(crate) operation: String,
}
