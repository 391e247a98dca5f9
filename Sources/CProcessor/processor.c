/* SwiftPM wants a source file; everything is in the header, to be inlined. */
#include "CProcessor.h"
