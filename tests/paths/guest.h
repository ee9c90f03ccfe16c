/* SPDX-License-Identifier: GPL-2.0 */
/*
 * paths/guest.h - the little program that runs in the virtual machine of kvm.c
 *
 * It goes over the guest's memory granule by granule, and writes tags and data, which depend on the granule's address
 * and a version, or verifies that they are there, reading with the pointer that belongs to the tag. It ends with a
 * store to GUEST_DONE: 0, or the address of the first granule that is wrong, or, with bit 63 set, the syndrome of
 * an exception.
 */
#ifndef TESTS_PATHS_GUEST_H
#define TESTS_PATHS_GUEST_H

#define GUEST_DONE	0x09000000ULL		/* nothing is there: the guest exits */

/*
 * What the program does. GUEST_ZERO: all data and tags must be zero. GUEST_LOOK: reads data only. GUEST_TAG: writes
 * tags only. GUEST_REWRITE: writes data only, with pointers to which the tags must belong.
 */
enum guest_job { GUEST_WRITE, GUEST_VERIFY, GUEST_ZERO, GUEST_LOOK, GUEST_TAG, GUEST_REWRITE };

/* The program. x0: first granule, x1: end, x2: version, x3: job. The first instruction may be skipped. */
extern const char guest_program[], guest_vectors[], guest_program_end[];

__asm__("	.pushsection .rodata\n"
"	.globl	guest_program, guest_vectors, guest_program_end\n"
"	.balign 4096\n"
"guest_program:\n"
"	nop\n"
"	ldr	x13, =0x9e3779b97f4a7c15\n"
"1:	cmp	x0, x1\n"
"	b.hs	6f\n"
"	lsr	x11, x0, #4\n"
"	add	x11, x11, x0, lsr #12\n"
"	add	x11, x11, x2\n"
"	and	x11, x11, #15\n"
"	madd	x12, x0, x13, x2\n"
"	cmp	x3, #4\n"
"	b.hs	4f\n"
"	cbz	x3, 4f\n"
"	cmp	x3, #2\n"
"	csel	x11, xzr, x11, hs\n"
"	csel	x12, xzr, x12, hs\n"
"	b.hi	2f\n"
"	mov	x14, xzr\n"
"	ldg	x14, [x0]\n"
"	ubfx	x14, x14, #56, #4\n"
"	cmp	x14, x11\n"
"	b.ne	5f\n"
"2:	orr	x15, x0, x11, lsl #56\n"
"	ldp	x16, x17, [x15]\n"
"	cmp	x16, x12\n"
"	b.ne	5f\n"
"	cmp	x17, x12\n"
"	b.ne	5f\n"
"3:	add	x0, x0, #16\n"
"	b	1b\n"
"4:	orr	x15, x0, x11, lsl #56\n"
"	b.hi	8f\n"
"	stg	x15, [x15]\n"
"	b.eq	3b\n"
"8:	stp	x12, x12, [x15]\n"
"	b	3b\n"
"5:	mov	x10, x0\n"
"	b	7f\n"
"6:	mov	x10, xzr\n"
"7:	mov	x17, #0x09000000\n"
"	str	x10, [x17]\n"
"	b	.\n"
"	.ltorg\n"
"	.balign 2048\n"
"guest_vectors:\n"
"	.skip	0x200\n"
"	mrs	x10, esr_el1\n"
"	orr	x10, x10, #0x8000000000000000\n"
"	b	7b\n"
"	.balign 2048\n"
"guest_program_end:\n"
"	.popsection\n");

#endif /* TESTS_PATHS_GUEST_H */
