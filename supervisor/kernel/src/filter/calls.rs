//! System calls that are refused, and why, as data.
//!
//! Every call that is known here is in one of three lists: [`ALLOWED`](super::allowed::ALLOWED),
//! [`REFUSED`] with the reason, or [`GUARDED`], which is allowed but for some arguments. What is in none is answered with ENOSYS,
//! so that libraries do what they do on a kernel that lacks it: calls that nothing needs any more,
//! calls that are newer than this list, and `clone3`, whose flags are behind a pointer that a filter
//! cannot follow (glibc then takes `clone`). `rseq` is one of these: it has the kernel go on elsewhere than where a
//! process was, which must not be in the middle of [`crate::passage`]; C libraries do without.
//!
//! The lists were begun from what Docker lets through, and tried with runs of packages.

use libc::c_long;

/// A group of calls that are refused for one reason.
#[derive(Debug)]
pub struct Refusal {
    /// The cause.
    pub reason: &'static str,
    /// Numbers of the calls.
    pub calls: &'static [c_long],
}

/// A call that is refused with some arguments only.
#[derive(Debug)]
pub struct Guard {
    /// The refused thing, and the reason.
    pub reason: &'static str,
    /// Number of the call.
    pub call: c_long,
    /// Lists of tests: the call is refused if all tests of any list hold.
    pub refused: &'static [&'static [Test]],
}

/// A test of one argument, of which the kernel takes the lower 32 bits.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Number of the argument, from 0 on.
    pub argument: u8,
    /// Question that is asked of it.
    pub is: Is,
}

/// Question of a [`Test`].
#[derive(Debug, Clone, Copy)]
pub enum Is {
    /// True if it is this.
    Equal(u32),
    /// True if it is anything else.
    Other(u32),
    /// True if its bits of a mask are these: mask, bits.
    Masked(u32, u32),
}

const fn equal(argument: u8, value: i32) -> Test {
    Test { argument, is: Is::Equal(value.cast_unsigned()) }
}

const fn other(argument: u8, value: i32) -> Test {
    Test { argument, is: Is::Other(value.cast_unsigned()) }
}

const fn masked(argument: u8, mask: i32, bits: i32) -> Test {
    Test { argument, is: Is::Masked(mask.cast_unsigned(), bits.cast_unsigned()) }
}

const fn has(argument: u8, bit: i32) -> Test {
    masked(argument, bit, bit)
}

/// Calls that are refused with EPERM, whatever their arguments.
pub const REFUSED: &[Refusal] = &[
    Refusal {
        reason: "a sandbox sees what it was given: nothing is mounted, and the root stays",
        calls: &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            OPEN_TREE_ATTR,
        ],
    },
    Refusal {
        reason: "a new namespace brings capabilities, and with them most of the kernel's holes",
        calls: &[libc::SYS_unshare],
    },
    Refusal {
        reason: "reads, changes or takes from other processes",
        calls: &[
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
            libc::SYS_process_mrelease,
            libc::SYS_pidfd_getfd,
            libc::SYS_kcmp,
            libc::SYS_move_pages,
            libc::SYS_migrate_pages,
        ],
    },
    Refusal {
        reason: "programs that run in the kernel, and what watches it",
        calls: &[
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_fanotify_init,
            libc::SYS_fanotify_mark,
            libc::SYS_lookup_dcookie,
            libc::SYS_syslog,
        ],
    },
    Refusal {
        reason: "a second way to make system calls, which no filter sees",
        calls: &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register],
    },
    Refusal {
        reason: "its slots are the whole machine's (fs.aio-max-nr)",
        calls: &[
            libc::SYS_io_setup,
            libc::SYS_io_submit,
            libc::SYS_io_getevents,
            libc::SYS_io_cancel,
            libc::SYS_io_destroy,
        ],
    },
    Refusal {
        reason: "holds the kernel up in the middle of a copy, or leaves it pages that change",
        calls: &[libc::SYS_userfaultfd, libc::SYS_vmsplice],
    },
    Refusal {
        reason: "keys are in no namespace",
        calls: &[libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key],
    },
    Refusal {
        reason: "opens files past the folders that lead to them (CVE-2014-3519 and its like)",
        calls: &[libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at],
    },
    Refusal {
        reason: "the machine's own: its kernel, modules, clock, swap, quotas, accounts, names",
        calls: &[
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_acct,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_clock_adjtime,
            libc::SYS_adjtimex,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_vhangup,
        ],
    },
    Refusal {
        reason: "where memory is placed decides about others' too",
        calls: &[libc::SYS_mbind, libc::SYS_set_mempolicy],
    },
    #[cfg(target_arch = "x86_64")]
    Refusal {
        reason: "ports and segments of the processor",
        calls: &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt],
    },
];

/// Calls that are refused with EPERM where their arguments say so.
pub const GUARDED: &[Guard] = &[
    Guard {
        reason: "a new namespace, as with unshare; what shares descriptors and is no thread",
        call: libc::SYS_clone,
        refused: &[
            &[has(0, libc::CLONE_NEWUSER)],
            &[has(0, libc::CLONE_NEWNS)],
            &[has(0, libc::CLONE_NEWPID)],
            &[has(0, libc::CLONE_NEWNET)],
            &[has(0, libc::CLONE_NEWIPC)],
            &[has(0, libc::CLONE_NEWUTS)],
            &[has(0, libc::CLONE_NEWCGROUP)],
            // Descriptors that are looked at in one process must not be exchanged by another.
            &[masked(0, libc::CLONE_FILES | libc::CLONE_THREAD, libc::CLONE_FILES)],
        ],
    },
    Guard {
        reason: "families other than Unix, internet and routes (which getaddrinfo asks for), raw \
                 packets, and protocols that would have the kernel load a module",
        call: libc::SYS_socket,
        refused: &[
            &[
                other(0, libc::AF_UNIX),
                other(0, libc::AF_INET),
                other(0, libc::AF_INET6),
                other(0, libc::AF_NETLINK),
            ],
            &[equal(0, libc::AF_NETLINK), other(2, libc::NETLINK_ROUTE)],
            &[equal(0, libc::AF_INET), masked(1, SOCKET_KIND, libc::SOCK_RAW)],
            &[equal(0, libc::AF_INET6), masked(1, SOCKET_KIND, libc::SOCK_RAW)],
            // With the family of the internet this is one of raw packets.
            &[masked(1, SOCKET_KIND, SOCK_PACKET)],
            &[other(0, libc::AF_UNIX), masked(1, SOCKET_KIND, libc::SOCK_SEQPACKET)],
            &[masked(1, SOCKET_KIND, libc::SOCK_DCCP)],
            &[equal(2, libc::IPPROTO_SCTP)],
            &[equal(2, IPPROTO_L2TP)],
        ],
    },
    Guard {
        reason: "families other than Unix",
        call: libc::SYS_socketpair,
        refused: &[&[other(0, libc::AF_UNIX)]],
    },
    Guard {
        reason: "filters of packets: what their programs take is one amount for the machine, and not counted for \
                 any user or group",
        call: libc::SYS_setsockopt,
        refused: &[
            &[equal(1, libc::SOL_SOCKET), equal(2, libc::SO_ATTACH_FILTER)],
            &[equal(1, libc::SOL_SOCKET), equal(2, libc::SO_ATTACH_BPF)],
            &[equal(1, libc::SOL_SOCKET), equal(2, libc::SO_ATTACH_REUSEPORT_CBPF)],
            &[equal(1, libc::SOL_SOCKET), equal(2, libc::SO_ATTACH_REUSEPORT_EBPF)],
        ],
    },
    Guard {
        reason: "typing into a terminal (CVE-2017-5226), and line disciplines, which are modules",
        call: libc::SYS_ioctl,
        refused: &[&[equal(1, TIOCSTI)], &[equal(1, TIOCLINUX)], &[equal(1, TIOCSETD)]],
    },
    Guard {
        reason: "what makes other kernels' programs run, and holes easier to use",
        call: libc::SYS_personality,
        // To have none and to ask for it.
        refused: &[&[other(0, 0), other(0, -1)]],
    },
    #[cfg(target_arch = "x86_64")]
    Guard {
        reason: "devices; named pipes are made by it too",
        call: libc::SYS_mknod,
        refused: &[&[masked(1, FILE_KIND, CHARACTER)], &[masked(1, FILE_KIND, BLOCK)]],
    },
    Guard {
        reason: "the same",
        call: libc::SYS_mknodat,
        refused: &[&[masked(2, FILE_KIND, CHARACTER)], &[masked(2, FILE_KIND, BLOCK)]],
    },
];

/// Namespaces of other processes, which nobody joins.
pub const JOINING: Refusal =
    Refusal { reason: "there is nothing to join but what one is in", calls: &[libc::SYS_setns] };

/// The guard of that call for a zygote, of which the children join the sandboxes that are made for them, by the
/// namespaces in [`crate::privilege::NAMESPACES`], with or without the network's.
pub const JOINING_SANDBOXES: Guard = Guard {
    reason: "anything but joining all namespaces of a sandbox at once",
    call: libc::SYS_setns,
    refused: &[&[
        other(1, crate::privilege::NAMESPACES.bits()),
        other(1, crate::privilege::NAMESPACES.bits() | libc::CLONE_NEWNET),
    ]],
};

const SOCKET_KIND: i32 = 0xf;
const SOCK_PACKET: i32 = 10;
const IPPROTO_L2TP: i32 = 115;
const TIOCSTI: i32 = 0x5412;
const TIOCLINUX: i32 = 0x541c;
const TIOCSETD: i32 = 0x5423;
const FILE_KIND: i32 = libc::S_IFMT.cast_signed();
const CHARACTER: i32 = libc::S_IFCHR.cast_signed();
const BLOCK: i32 = libc::S_IFBLK.cast_signed();

/// A call that the libc crate does not name yet, numbered alike on all architectures.
const OPEN_TREE_ATTR: c_long = 467;

/// Calls by which a zygote may not become the user that owns its children's sandboxes: all others than
/// [`OWNING`].
pub const OWNED: &[Guard] = &[
    Guard {
        reason: "the owner of sandboxes",
        call: libc::SYS_setuid,
        refused: &[&[OWNER_AS_FIRST]],
    },
    Guard { reason: "the same", call: libc::SYS_setfsuid, refused: &[&[OWNER_AS_FIRST]] },
    Guard {
        reason: "the same",
        call: libc::SYS_setreuid,
        refused: &[&[OWNER_AS_FIRST], &[OWNER_AS_SECOND]],
    },
    Guard {
        reason: "the same, but as a zygote's usher asks for it",
        call: libc::SYS_setresuid,
        refused: &[
            &[OWNER_AS_FIRST],
            &[OWNER_AS_SECOND, other(0, -1)],
            &[OWNER_AS_SECOND, other(2, -1)],
        ],
    },
];

/// The call by which a zygote's usher becomes the owner of sandboxes: the supervisor is asked.
pub const OWNING: Guard = Guard {
    reason: "the supervisor decides when it looks at the process",
    call: libc::SYS_setresuid,
    refused: &[&[equal(0, -1), OWNER_AS_SECOND, equal(2, -1)]],
};

const OWNER_AS_FIRST: Test = equal(0, crate::passage::OWNER.cast_signed());
const OWNER_AS_SECOND: Test = equal(1, crate::passage::OWNER.cast_signed());
