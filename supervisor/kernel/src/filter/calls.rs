//! Which system calls sandboxes may make, as data.
//!
//! Every call that is known here is in one of three lists: [`ALLOWED`], [`REFUSED`] with the reason,
//! or [`GUARDED`], which is allowed but for some arguments. What is in none is answered with ENOSYS,
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
    /// Why.
    pub reason: &'static str,
    /// Their numbers.
    pub calls: &'static [c_long],
}

/// A call that is refused with some arguments only.
#[derive(Debug)]
pub struct Guard {
    /// What is refused, and why.
    pub reason: &'static str,
    /// Its number.
    pub call: c_long,
    /// It is refused where all tests of any of these hold.
    pub refused: &'static [&'static [Test]],
}

/// A test of one argument, of which the kernel takes the lower 32 bits.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Which argument, from 0 on.
    pub argument: u8,
    /// What is asked of it.
    pub is: Is,
}

/// What a [`Test`] asks.
#[derive(Debug, Clone, Copy)]
pub enum Is {
    /// Whether it is this.
    Equal(u32),
    /// Whether it is anything else.
    Other(u32),
    /// Whether its bits of a mask are these: mask, bits.
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

/// The same for a zygote, of which the children join the sandboxes that are made for them, by the
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

// Calls that the libc crate does not name yet, numbered alike on all architectures.
const MAP_SHADOW_STACK: c_long = 453;
const FUTEX_WAKE: c_long = 454;
const FUTEX_WAIT: c_long = 455;
const FUTEX_REQUEUE: c_long = 456;
const SETXATTRAT: c_long = 463;
const GETXATTRAT: c_long = 464;
const LISTXATTRAT: c_long = 465;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FCHMODAT2: c_long = 452;
const MSEAL: c_long = 462;

/// What else a zygote may not: be the user that owns its children's sandboxes, by another call than
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

/// Calls that are allowed, by what they are about.
pub const ALLOWED: &[&[c_long]] = &[
    // Files.
    &[
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_preadv,
        libc::SYS_pwritev,
        libc::SYS_preadv2,
        libc::SYS_pwritev2,
        libc::SYS_lseek,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_close,
        libc::SYS_close_range,
        libc::SYS_dup,
        libc::SYS_dup3,
        libc::SYS_fcntl,
        libc::SYS_flock,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_statfs,
        libc::SYS_fstatfs,
        libc::SYS_getdents64,
        libc::SYS_getcwd,
        libc::SYS_chdir,
        libc::SYS_fchdir,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_readlinkat,
        libc::SYS_renameat2,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        FCHMODAT2,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_umask,
        libc::SYS_utimensat,
        libc::SYS_truncate,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
        libc::SYS_fadvise64,
        libc::SYS_readahead,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_sync,
        libc::SYS_syncfs,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_sync_file_range,
        libc::SYS_copy_file_range,
        libc::SYS_sendfile,
        libc::SYS_splice,
        libc::SYS_tee,
        libc::SYS_getxattr,
        libc::SYS_lgetxattr,
        libc::SYS_fgetxattr,
        libc::SYS_listxattr,
        libc::SYS_llistxattr,
        libc::SYS_flistxattr,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        libc::SYS_fremovexattr,
        GETXATTRAT,
        LISTXATTRAT,
        SETXATTRAT,
        REMOVEXATTRAT,
        libc::SYS_inotify_init1,
        libc::SYS_inotify_add_watch,
        libc::SYS_inotify_rm_watch,
    ],
    // The same by their old names.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_open,
        libc::SYS_creat,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_getdents,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_unlink,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_readlink,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
        libc::SYS_utime,
        libc::SYS_utimes,
        libc::SYS_futimesat,
        libc::SYS_dup2,
        libc::SYS_inotify_init,
    ],
    // Waiting, pipes, and what is told by descriptors.
    &[
        libc::SYS_pipe2,
        libc::SYS_ppoll,
        libc::SYS_pselect6,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_eventfd2,
        libc::SYS_signalfd4,
        libc::SYS_timerfd_create,
        libc::SYS_timerfd_settime,
        libc::SYS_timerfd_gettime,
        libc::SYS_memfd_create,
    ],
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_pipe,
        libc::SYS_poll,
        libc::SYS_select,
        libc::SYS_epoll_create,
        libc::SYS_epoll_wait,
        libc::SYS_eventfd,
        libc::SYS_signalfd,
    ],
    // Sockets.
    &[
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_connect,
        libc::SYS_shutdown,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
        libc::SYS_getsockopt,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
    ],
    // Memory.
    &[
        libc::SYS_brk,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_mincore,
        libc::SYS_msync,
        libc::SYS_mlock,
        libc::SYS_mlock2,
        libc::SYS_mlockall,
        libc::SYS_munlock,
        libc::SYS_munlockall,
        libc::SYS_remap_file_pages,
        libc::SYS_get_mempolicy,
        libc::SYS_pkey_alloc,
        libc::SYS_pkey_free,
        libc::SYS_pkey_mprotect,
        libc::SYS_membarrier,
        MAP_SHADOW_STACK,
        MSEAL,
    ],
    // Processes and threads.
    &[
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_wait4,
        libc::SYS_waitid,
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_gettid,
        libc::SYS_getpgid,
        libc::SYS_setpgid,
        libc::SYS_getsid,
        libc::SYS_setsid,
        libc::SYS_set_tid_address,
        libc::SYS_set_robust_list,
        libc::SYS_get_robust_list,
        libc::SYS_futex,
        libc::SYS_futex_waitv,
        FUTEX_WAKE,
        FUTEX_WAIT,
        FUTEX_REQUEUE,
        libc::SYS_prctl,
        libc::SYS_seccomp,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
        libc::SYS_uname,
        libc::SYS_sysinfo,
        libc::SYS_times,
        libc::SYS_getrusage,
        libc::SYS_prlimit64,
        libc::SYS_getpriority,
        libc::SYS_setpriority,
        libc::SYS_ioprio_get,
        libc::SYS_ioprio_set,
        libc::SYS_getcpu,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_getattr,
        libc::SYS_sched_setattr,
        libc::SYS_sched_getparam,
        libc::SYS_sched_setparam,
        libc::SYS_sched_getscheduler,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_get_priority_max,
        libc::SYS_sched_get_priority_min,
        libc::SYS_sched_rr_get_interval,
        libc::SYS_getrandom,
        libc::SYS_restart_syscall,
    ],
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_arch_prctl,
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_getpgrp,
        libc::SYS_getrlimit,
        libc::SYS_setrlimit,
    ],
    // Users, of whom a sandbox has two, and capabilities, of which it has none.
    &[
        libc::SYS_getuid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getegid,
        libc::SYS_getresuid,
        libc::SYS_getresgid,
        libc::SYS_getgroups,
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_setreuid,
        libc::SYS_setregid,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_setfsuid,
        libc::SYS_setfsgid,
        libc::SYS_setgroups,
        libc::SYS_capget,
        libc::SYS_capset,
    ],
    // Signals and time.
    &[
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_tgkill,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigpending,
        libc::SYS_rt_sigsuspend,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_sigaltstack,
        libc::SYS_nanosleep,
        libc::SYS_clock_nanosleep,
        libc::SYS_clock_gettime,
        libc::SYS_clock_getres,
        libc::SYS_gettimeofday,
        libc::SYS_getitimer,
        libc::SYS_setitimer,
        libc::SYS_timer_create,
        libc::SYS_timer_settime,
        libc::SYS_timer_gettime,
        libc::SYS_timer_getoverrun,
        libc::SYS_timer_delete,
    ],
    #[cfg(target_arch = "x86_64")]
    &[libc::SYS_pause, libc::SYS_alarm, libc::SYS_time],
    // What processes of the same sandbox share.
    &[
        libc::SYS_shmget,
        libc::SYS_shmat,
        libc::SYS_shmdt,
        libc::SYS_shmctl,
        libc::SYS_semget,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_semctl,
        libc::SYS_msgget,
        libc::SYS_msgsnd,
        libc::SYS_msgrcv,
        libc::SYS_msgctl,
        libc::SYS_mq_open,
        libc::SYS_mq_unlink,
        libc::SYS_mq_timedsend,
        libc::SYS_mq_timedreceive,
        libc::SYS_mq_notify,
        libc::SYS_mq_getsetattr,
    ],
];
