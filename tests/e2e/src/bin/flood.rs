//! Sends thousands of descriptors over the channel it inherited as its stdin, without waiting for the
//! acknowledgements a Node worker would wait for. Started by a fixture; never by a person.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

const PER_MESSAGE: usize = 100;
const MESSAGES: usize = 100;
const LINE: &[u8] = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"some\":\"thing\"}}\n";

fn main() -> ExitCode {
    let stdin = std::io::stdin();
    let channel = stdin.as_fd();
    let Ok(null) = std::fs::File::open("/dev/null") else { return ExitCode::FAILURE };
    let fds: Vec<BorrowedFd<'_>> = vec![null.as_fd(); PER_MESSAGE];
    for sent in 0..MESSAGES {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return ExitCode::FAILURE;
        }
        loop {
            match sendmsg(channel, &[IoSlice::new(LINE)], &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => break,
                Err(rustix::io::Errno::AGAIN) => {
                    let mut fds = [PollFd::new(&channel, PollFlags::OUT)];
                    let wait = Timespec { tv_sec: 5, tv_nsec: 0 };
                    if !matches!(poll(&mut fds, Some(&wait)), Ok(1..)) {
                        return ExitCode::FAILURE;
                    }
                }
                // The primary hung up on us: that is what the test wants to see.
                Err(_) => {
                    eprintln!("flood ended after {sent} messages");
                    return ExitCode::SUCCESS;
                }
            }
        }
    }
    ExitCode::SUCCESS
}
