/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest of 512 bytes that writes pages at a rate it is told.
 *
 * A boot sector: it goes to 32-bit protected mode, makes steps while it has
 * made fewer than it may, and else halts until the timer (18.2 Hz). Step n writes
 * n + 1 into the first word of page (n * STRIDE) % PAGES of the window, and
 * then counts. STRIDE is odd and PAGES a power of two: PAGES steps visit each
 * page once. While it halts, the only page that it writes is that of its stack.
 *
 *     0x07000  stack
 *     0x07c00  this code
 *     0x10000  control block: magic, steps made, steps allowed, delay
 *     0x200000 window: PAGES pages
 */
	.set CONTROL, 0x10000
	.set STACK, 0x7000
	.set WINDOW, 0x200000
	.set PAGES, 8192
	.set STRIDE, 2731
	.set MAGIC, 0x4d454d55          /* "UMEM" */

	.code16
	.globl _start
_start:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movb	$0x02, %al              /* A20 on */
	outb	%al, $0x92
	lgdtl	gdt_pointer
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$8, $protected

	.code32
protected:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	lidtl	idt_pointer
	movb	$0xfe, %al              /* no interrupt but the timer's */
	outb	%al, $0x21
	movb	$0xff, %al
	outb	%al, $0xa1
	movl	$CONTROL, %ebx
	xorl	%edi, %edi              /* steps made */
	xorl	%esi, %esi              /* page of the next one */
	movl	%edi, 4(%ebx)
	movl	$MAGIC, (%ebx)

work:
	cmpl	8(%ebx), %edi
	jae	idle
	movl	%esi, %eax
	shll	$12, %eax
	incl	%edi
	movl	%edi, WINDOW(%eax)
	addl	$STRIDE, %esi
	andl	$PAGES - 1, %esi
	movl	%edi, 4(%ebx)           /* counted when it is written */
	movl	12(%ebx), %ecx
	jecxz	work
1:	decl	%ecx
	jnz	1b
	jmp	work

idle:
	movl	$STACK, %esp
	sti
	hlt
	jmp	idle

timer:                                  /* IRET is not emulated in protected mode */
	movb	$0x20, %al
	outb	%al, $0x20
	jmp	work

	.balign 8
gdt:
	.quad 0
	.quad 0x00cf9a000000ffff        /* code, flat */
	.quad 0x00cf92000000ffff        /* data, flat */
gdt_pointer:
	.word . - gdt - 1
	.long gdt
	.balign 8
idt_timer:                              /* the only entry: the BIOS left IRQ 0 at 8 */
	.word 0x7c00 + timer - _start, 8, 0x8e00, 0
idt_pointer:
	.word 9 * 8 - 1
	.long idt_timer - 8 * 8

	.org 510
	.word 0xaa55
