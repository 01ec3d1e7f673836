//! Finds the program that listens on a TCP port. The kernel does not name other users' programs.

#[cfg(target_os = "linux")]
use std::fs;

/// The program's name and process id, if the system reports them.
#[cfg(target_os = "linux")]
pub(super) fn port_owner(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening(table, port))?;
    let link = format!("socket:[{inode}]");
    let has_socket = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors
            .into_iter()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == link.as_str()))
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(has_socket)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (process {pid})", name.trim()))
}

/// The inode of the socket that listens on a port.
#[cfg(target_os = "linux")]
fn listening(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let found = local.ends_with(&suffix) && state == LISTEN;
        // Queues, timer, retransmissions, user and timeout stand between the state and the inode.
        found.then(|| fields.nth(5).map(str::to_owned)).flatten()
    })
}

/// Not implemented on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn port_owner(_: u16) -> Option<String> {
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    #[test]
    fn own_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = super::port_owner(listener.local_addr().unwrap().port()).unwrap();
        assert!(owner.ends_with(&format!("(process {})", std::process::id())), "{owner}");
        drop(listener);
        assert_eq!(super::port_owner(1), None);
    }
}
