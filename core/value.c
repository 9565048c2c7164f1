/* SPDX-License-Identifier: BSD-2-Clause */
/* The values of options as text. */
#include "core/value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/nearest.h"

/* ---- numbers with units ---- */

struct unit {
	const char *name;
	uint64_t factor;
};

#define KI 1024ull
#define K 1000ull

/* The first of those that divide a value is the one it is printed with. */
static const struct unit size_units[] = {
	{ "EiB", KI * KI * KI * KI * KI * KI }, { "PiB", KI * KI * KI * KI * KI }, { "TiB", KI * KI * KI * KI },
	{ "GiB", KI * KI * KI }, { "MiB", KI * KI }, { "KiB", KI }, { "", 1 },
	{ "B", 1 }, { "k", KI }, { "K", KI }, { "M", KI * KI }, { "G", KI * KI * KI }, { "T", KI * KI * KI * KI },
	{ "kB", K }, { "KB", K }, { "MB", K * K }, { "GB", K * K * K }, { "TB", K * K * K * K }, { "PB", K * K * K * K * K },
	{ NULL, 0 }
};

static const struct unit duration_units[] = {
	{ "d", 86400 * K * K * K }, { "h", 3600 * K * K * K }, { "min", 60 * K * K * K }, { "s", K * K * K },
	{ "ms", K * K }, { "us", K }, { "ns", 1 },
	{ NULL, 0 }
};

static const struct unit count_units[] = { { "", 1 }, { NULL, 0 } };

static const struct unit rate_units[] = {
	{ "G", K * K * K }, { "M", K * K }, { "k", K }, { "", 1 },
	{ "T", K * K * K * K }, { "K", K }, { "kB", K }, { "KB", K }, { "MB", K * K }, { "GB", K * K * K },
	{ "KiB", KI }, { "MiB", KI * KI }, { "GiB", KI * KI * KI }, { "TiB", KI * KI * KI * KI }, { "B", 1 },
	{ NULL, 0 }
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const struct unit *find_unit(const struct unit *units, const char *text, size_t len)
{
	WEFT_ASSERT(units && text);
	for (; units->name; units++)
		if (strlen(units->name) == len && !memcmp(units->name, text, len))
			return units;
	return NULL;
}

/* A decimal number as written: digits, at most 19 of them after leading zeroes, and how many stand behind the
 * point. */
struct decimal {
	uint64_t digits;
	int scale;
};

/* Returns where the number ends; NULL: there is none, or -ERANGE in *error. */
static const char *read_decimal(const char *text, struct decimal *out, int *error)
{
	const char *c = text;
	bool point = false, any = false;

	WEFT_ASSERT(text);
	*out = (struct decimal){ 0, 0 };
	*error = -EINVAL;
	for (;; c++) {
		if (*c == '.' && !point) {
			point = true;
			continue;
		}
		if (!is_digit(*c))
			break;
		any = true;
		if (__builtin_mul_overflow(out->digits, 10, &out->digits) ||
		    __builtin_add_overflow(out->digits, (uint64_t)(*c - '0'), &out->digits)) {
			*error = -ERANGE;
			return NULL;
		}
		out->scale += point;
	}
	return any && c[-1] != '.' && text[0] != '.' ? c : NULL;
}

/* A whole number of the smallest unit: "1.5k" is 1536, "1.3k" is none. */
static int parse_whole(const struct unit *units, const char *text, uint64_t *out)
{
	struct decimal decimal;
	int error;
	const char *end = read_decimal(text, &decimal, &error);

	WEFT_ASSERT(units && units->factor);
	if (!end)
		return error;
	const struct unit *unit = find_unit(units, end, strlen(end));
	if (!unit && units == duration_units && !*end && !decimal.digits)
		unit = &count_units[0]; /* 0 needs no unit */
	if (!unit)
		return -EINVAL;
	unsigned __int128 value = (unsigned __int128)decimal.digits * unit->factor;
	for (; decimal.scale; decimal.scale--) {
		if (value % 10)
			return -EINVAL;
		value /= 10;
	}
	if (value > UINT64_MAX)
		return -ERANGE;
	*out = (uint64_t)value;
	return 0;
}

static long double power_of_ten(int exponent)
{
	long double power = 1;

	WEFT_ASSERT(exponent > -2000 && exponent < 2000);
	for (int i = exponent < 0 ? -exponent : exponent; i > 0; i--)
		power *= 10;
	return power;
}

/* A number with an optional exponent ("1e-3"), not looking at the locale. */
static const char *read_real(const char *text, double *out, int *error)
{
	struct decimal decimal;
	int exponent = 0;
	const char *c = read_decimal(text, &decimal, error);

	if (!c)
		return NULL;
	if (*c == 'e' && (is_digit(c[1]) || ((c[1] == '-' || c[1] == '+') && is_digit(c[2])))) {
		bool negative = c[1] == '-';

		for (c += is_digit(c[1]) ? 1 : 2; is_digit(*c); c++)
			if (exponent < 1000)
				exponent = exponent * 10 + (*c - '0');
		exponent = negative ? -exponent : exponent;
	}
	WEFT_ASSERT(decimal.scale >= 0);
	exponent -= decimal.scale;
	*error = -ERANGE;
	if (exponent > 300 || exponent < -300)
		return NULL;
	long double power = power_of_ten(exponent);
	*out = (double)(exponent < 0 ? decimal.digits / power : decimal.digits * power);
	return isfinite(*out) ? c : NULL;
}

static int parse_rate(const char *text, double *out)
{
	int error;
	const char *end = read_real(text, out, &error);

	WEFT_ASSERT(text);
	if (!end)
		return error;
	size_t len = strlen(end);
	if (len >= 2 && !strcmp(end + len - 2, "/s"))
		len -= 2;
	const struct unit *unit = find_unit(rate_units, end, len);
	if (!unit)
		return -EINVAL;
	*out *= (double)unit->factor;
	return 0;
}

static int parse_real(const char *text, double *out)
{
	int error;
	const char *end = read_real(text, out, &error);

	WEFT_ASSERT(text);
	if (!end)
		return error;
	if (!strcmp(end, "%"))
		*out /= 100;
	else if (*end)
		return -EINVAL;
	return 0;
}

static int parse_octal(const char *text, uint32_t *out)
{
	uint32_t mode = 0;

	for (const char *c = text; *c; c++) {
		if (*c < '0' || *c > '7')
			return -EINVAL;
		mode = mode << 3 | (uint32_t)(*c - '0');
		if (mode > 07777)
			return -ERANGE;
	}
	WEFT_ASSERT(mode <= 07777);
	*out = mode;
	return *text ? 0 : -EINVAL;
}

/* ---- words ---- */

static int parse_bool(const char *text, bool *out)
{
	static const char *const words[] = { "off", "on", "false", "true", "no", "yes", "0", "1" };

	WEFT_ASSERT(text);
	for (unsigned i = 0; i < WEFT_COUNT(words); i++) {
		if (!strcmp(text, words[i])) {
			*out = i & 1;
			return 0;
		}
	}
	return -EINVAL;
}

/* The next of "a|b|c": its length, 0 at the end. *at moves on. */
static size_t next_choice(const char **at, const char **choice)
{
	size_t len = strcspn(*at, "|");

	WEFT_ASSERT(*at);
	*choice = *at;
	*at += len + ((*at)[len] == '|');
	return len;
}

static int parse_choice(const char *choices, const char *text, uint32_t *out, struct nearest *nearest)
{
	const char *choice;
	size_t len;

	WEFT_ASSERT(choices && *choices);
	for (uint32_t i = 0; (len = next_choice(&choices, &choice)); i++) {
		if (strlen(text) == len && !memcmp(choice, text, len)) {
			*out = i;
			return 0;
		}
		nearest_try(nearest, choice, len);
	}
	return -EINVAL;
}

static void print_choice(const char *choices, uint32_t index, char *text, size_t size, int *len)
{
	const char *choice = "";
	size_t choice_len;

	do
		choice_len = next_choice(&choices, &choice);
	while (choice_len && index--);
	WEFT_ASSERT(choice_len);
	*len = snprintf(text, size, "%.*s", (int)choice_len, choice);
}

/* ---- parse ---- */

static const char *rule_of(uint8_t type)
{
	WEFT_ASSERT(type != WEFT_OPTION_CHOICE); /* the caller lists the choices */
	switch (type) {
	case WEFT_OPTION_BOOL:
		return "is neither on nor off: write on or off";
	case WEFT_OPTION_UINT:
		return "is not a whole number: write digits only, as in 16";
	case WEFT_OPTION_SIZE:
		return "is not a size: write bytes, or a number with KiB, MiB, GiB, TiB (or KB, MB: of 1000), as in 64MiB";
	case WEFT_OPTION_DURATION:
		return "is not a duration: write a number with ns, us, ms, s, min, h or d, as in 10ms";
	case WEFT_OPTION_RATE:
		return "is not a rate: write a number per second, with k, M, G (of 1000) or KiB, MiB, GiB, as in 1.5k";
	case WEFT_OPTION_REAL:
		return "is not a number: write it as in 0.01, 1e-3 or 5%";
	case WEFT_OPTION_OCTAL:
		return "is not a file mode: write octal digits, as in 0660";
	default:
		return "is empty: write a name";
	}
}

/* The number by which min and max are checked; false: this type has none. */
static bool bounded(const struct weft_option *option, const struct value *value, double *number)
{
	WEFT_ASSERT(option->type <= WEFT_OPTION_OCTAL);
	switch (option->type) {
	case WEFT_OPTION_UINT:
	case WEFT_OPTION_SIZE:
	case WEFT_OPTION_DURATION:
		*number = (double)value->number;
		return option->min || option->max;
	case WEFT_OPTION_RATE:
	case WEFT_OPTION_REAL:
		*number = value->real;
		return option->min || option->max;
	default:
		return false;
	}
}

static int out_of_bounds(const char *who, const struct weft_option *option, const char *text, bool small, struct weft_why *why)
{
	struct value bound = { .number = small ? option->min : option->max };
	char limit[VALUE_TEXT_MAX];

	WEFT_ASSERT(small ? option->min : option->max);
	if (option->type == WEFT_OPTION_RATE || option->type == WEFT_OPTION_REAL)
		bound.real = (double)bound.number;
	value_print(option, &bound, limit, sizeof(limit));
	return weft_why(why, -ERANGE, "%s: %s='%.60s' is too %s: give %s %s", who, option->name, text,
			small ? "small" : "large", small ? "at least" : "at most", limit);
}

static int check_bounds(const char *who, const struct weft_option *option, const char *text, const struct value *value,
	struct weft_why *why)
{
	double number;

	WEFT_ASSERT(!option->max || option->min <= option->max);
	if (!bounded(option, value, &number))
		return 0;
	bool whole = option->type != WEFT_OPTION_RATE && option->type != WEFT_OPTION_REAL;
	if (whole ? value->number < option->min : number < (double)option->min)
		return out_of_bounds(who, option, text, true, why);
	if (option->max && (whole ? value->number > option->max : number > (double)option->max))
		return out_of_bounds(who, option, text, false, why);
	return 0;
}

static int parse_by_type(const struct weft_option *option, const char *text, struct value *out, struct nearest *nearest)
{
	switch (option->type) {
	case WEFT_OPTION_BOOL:
		return parse_bool(text, &out->on);
	case WEFT_OPTION_UINT:
		return parse_whole(count_units, text, &out->number);
	case WEFT_OPTION_SIZE:
		return parse_whole(size_units, text, &out->number);
	case WEFT_OPTION_DURATION:
		return parse_whole(duration_units, text, &out->number);
	case WEFT_OPTION_RATE:
		return parse_rate(text, &out->real);
	case WEFT_OPTION_REAL:
		return parse_real(text, &out->real);
	case WEFT_OPTION_CHOICE:
		return parse_choice(option->choices, text, &out->index, nearest);
	case WEFT_OPTION_OCTAL:
		return parse_octal(text, &out->index);
	case WEFT_OPTION_PATH:
		out->text = text;
		return *text ? 0 : -EINVAL;
	default:
		WEFT_ASSERT(option->type == WEFT_OPTION_STRING);
		out->text = text;
		return 0;
	}
}

int value_parse(const char *who, const struct weft_option *option, const char *text, struct value *out, struct weft_why *why)
{
	struct nearest nearest = { .wanted = text };

	WEFT_ASSERT(option->name && text);
	*out = (struct value){ .number = 0 };
	int error = parse_by_type(option, text, out, &nearest);
	if (!error)
		return check_bounds(who, option, text, out, why);
	if (error == -ERANGE)
		return weft_why(why, -ERANGE, "%s: %s='%.60s' is too large or too fine: give a %s", who, option->name,
				text, option->type == WEFT_OPTION_OCTAL ? "mode up to 7777" : "smaller number");
	if (option->type == WEFT_OPTION_CHOICE)
		return weft_why(why, -EINVAL, "%s: %s='%.60s' is none of the choices: write one of %s%s%s", who, option->name,
				text, option->choices, nearest.best ? "; " : "", nearest_phrase(&nearest));
	return weft_why(why, -EINVAL, "%s: %s='%.60s' %s", who, option->name, text, rule_of(option->type));
}

int value_parse_size(const char *what, const char *text, uint64_t *bytes, struct weft_why *why)
{
	static const struct weft_option option = { .name = "size", .type = WEFT_OPTION_SIZE };
	struct value value;
	int error = value_parse(what, &option, text, &value, why);

	WEFT_ASSERT(what && bytes);
	if (!error)
		*bytes = value.number;
	return error;
}

/* ---- print ---- */

static int print_whole(const struct unit *unit, uint64_t number, char *text, size_t size)
{
	WEFT_ASSERT(unit->factor);
	if (!number)
		return snprintf(text, size, "0");
	while (number % unit->factor)
		unit++;
	return snprintf(text, size, "%" PRIu64 "%s", number / unit->factor, unit->name);
}

/* The fewest digits that read back as the same number. */
static int print_real(double number, char *text, size_t size)
{
	char shortest[VALUE_TEXT_MAX];

	WEFT_ASSERT(isfinite(number) && number >= 0);
	if (number < 1e15 && number == floor(number))
		return snprintf(text, size, "%.0f", number);
	for (int digits = 1; digits <= 17; digits++) {
		double back;
		int error;

		snprintf(shortest, sizeof(shortest), "%.*g", digits, number);
		for (char *c = shortest; *c; c++)
			if (!is_digit(*c) && *c != 'e' && *c != '-' && *c != '+')
				*c = '.'; /* the locale's decimal point */
		if (read_real(shortest, &back, &error) && back == number)
			break;
	}
	return snprintf(text, size, "%s", shortest);
}

int value_print(const struct weft_option *option, const struct value *value, char *text, size_t size)
{
	int len = 0;

	WEFT_ASSERT(value && option->type <= WEFT_OPTION_OCTAL);
	switch (option->type) {
	case WEFT_OPTION_BOOL:
		return snprintf(text, size, "%s", value->on ? "on" : "off");
	case WEFT_OPTION_UINT:
		return snprintf(text, size, "%" PRIu64, value->number);
	case WEFT_OPTION_SIZE:
		return print_whole(size_units, value->number, text, size);
	case WEFT_OPTION_DURATION:
		return print_whole(duration_units, value->number, text, size);
	case WEFT_OPTION_RATE:
	case WEFT_OPTION_REAL:
		return print_real(value->real, text, size);
	case WEFT_OPTION_CHOICE:
		print_choice(option->choices, value->index, text, size, &len);
		return len;
	case WEFT_OPTION_OCTAL:
		return snprintf(text, size, "%04o", value->index);
	default:
		return snprintf(text, size, "%s", value->text ? value->text : "");
	}
}

const char *value_form(const struct weft_option *option)
{
	static const char *const forms[] = {
		[WEFT_OPTION_BOOL] = "on|off", [WEFT_OPTION_UINT] = "NUMBER", [WEFT_OPTION_SIZE] = "SIZE",
		[WEFT_OPTION_DURATION] = "DURATION", [WEFT_OPTION_RATE] = "RATE", [WEFT_OPTION_REAL] = "NUMBER",
		[WEFT_OPTION_STRING] = "TEXT", [WEFT_OPTION_PATH] = "PATH", [WEFT_OPTION_OCTAL] = "MODE",
	};

	if (option->type == WEFT_OPTION_CHOICE)
		return option->choices;
	WEFT_ASSERT(option->type < WEFT_COUNT(forms));
	return forms[option->type];
}

/* ---- fields ---- */

void value_load(const struct weft_option *option, const void *instance, struct value *out)
{
	const char *field = (const char *)instance + option->offset;

	WEFT_ASSERT(instance && option->type <= WEFT_OPTION_OCTAL);
	*out = (struct value){ .number = 0 };
	switch (option->type) {
	case WEFT_OPTION_BOOL:
		memcpy(&out->on, field, sizeof(out->on));
		break;
	case WEFT_OPTION_CHOICE:
	case WEFT_OPTION_OCTAL:
		memcpy(&out->index, field, sizeof(out->index));
		break;
	case WEFT_OPTION_STRING:
	case WEFT_OPTION_PATH:
		memcpy(&out->text, field, sizeof(out->text));
		break;
	default:
		memcpy(&out->number, field, sizeof(out->number)); /* or real: both 8 bytes */
	}
}

void value_store(const struct weft_option *option, void *instance, const struct value *value)
{
	char *field = (char *)instance + option->offset;

	WEFT_ASSERT(instance && option->type <= WEFT_OPTION_OCTAL);
	switch (option->type) {
	case WEFT_OPTION_BOOL:
		memcpy(field, &value->on, sizeof(value->on));
		break;
	case WEFT_OPTION_CHOICE:
	case WEFT_OPTION_OCTAL:
		memcpy(field, &value->index, sizeof(value->index));
		break;
	case WEFT_OPTION_STRING:
	case WEFT_OPTION_PATH:
		memcpy(field, &value->text, sizeof(value->text));
		break;
	default:
		memcpy(field, &value->number, sizeof(value->number));
	}
}
