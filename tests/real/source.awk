# SPDX-License-Identifier: GPL-2.0
#
# real/source.awk - prints a C program for the compiler to chew on: functions with loops, branches, switches and tables,
# each a little different, the same whenever and wherever it runs
#
# usage: awk -v functions=N -f source.awk

function table(n,  i, text) {
	text = ""
	for (i = 0; i < 16; i++)
		text = text (i ? ", " : "") (n * 7919 + i * 104729) % 65521
	return text
}

BEGIN {
	print "struct node { struct node *next; unsigned long key; int left, right; double weight; };"
	for (n = 0; n < functions; n++) {
		printf "static const int table_%d[] = { %s };\n", n, table(n)
		printf "unsigned long work_%d(struct node *list, const unsigned char *text, unsigned int size)\n{\n", n
		printf "\tunsigned long sum = %d;\n\tdouble weight = 0;\n", n
		printf "\tfor (unsigned int i = 0; i < size; i++) {\n\t\tswitch (text[i] %% %d) {\n", 5 + n % 9
		for (i = 0; i < 5 + n % 9; i++)
			printf "\t\tcase %d:\n\t\t\tsum = sum * %d + table_%d[(i + %d) & 15];\n\t\t\tbreak;\n", i, 2 * i + 3, n, i
		printf "\t\t}\n\t\tif ((sum >> %d) & 1)\n\t\t\tsum ^= text[(i + %d) %% size] << %d;\n\t}\n", n % 13, n % 31, n % 7
		printf "\tfor (; list; list = list->next) {\n\t\tint span = list->right - list->left;\n\n"
		printf "\t\tif (span > %d)\n\t\t\tweight += list->weight * span;\n", n % 50
		printf "\t\telse if (list->key %% %d == %d)\n\t\t\tsum += list->key;\n\t}\n", 3 + n % 11, n % 3
		if (n)
			printf "\tif (sum %% 5 == 1 && size)\n\t\tsum += work_%d(list, text + 1, size - 1);\n", int(n / 2)
		print "\treturn sum + (unsigned long)weight;\n}"
	}
}
