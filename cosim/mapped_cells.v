// What cells of a mapped netlist do, in a form that Verilator compiles well: the plain ones, of which
// there are ten thousands. tests/cosim/test_mapped.py has Yosys prove each equal to its own model.

module LUT1(output O, input I0);
    parameter [1:0] INIT = 0;
    assign O = INIT[I0];
endmodule

module LUT2(output O, input I0, I1);
    parameter [3:0] INIT = 0;
    assign O = INIT[{I1, I0}];
endmodule

module LUT3(output O, input I0, I1, I2);
    parameter [7:0] INIT = 0;
    assign O = INIT[{I2, I1, I0}];
endmodule

module LUT4(output O, input I0, I1, I2, I3);
    parameter [15:0] INIT = 0;
    assign O = INIT[{I3, I2, I1, I0}];
endmodule

module LUT5(output O, input I0, I1, I2, I3, I4);
    parameter [31:0] INIT = 0;
    assign O = INIT[{I4, I3, I2, I1, I0}];
endmodule

module LUT6(output O, input I0, I1, I2, I3, I4, I5);
    parameter [63:0] INIT = 0;
    assign O = INIT[{I5, I4, I3, I2, I1, I0}];
endmodule

module INV(output O, input I);
    assign O = !I;
endmodule

module MUXF7(output O, input I0, I1, S);
    assign O = S ? I1 : I0;
endmodule

module MUXF8(output O, input I0, I1, S);
    assign O = S ? I1 : I0;
endmodule

// Where S is 0 both terms are DI, where it is 1 they are 1 and 0: their sum has the chain's carries.
module CARRY4(output [3:0] CO, O, input CI, CYINIT, input [3:0] DI, S);
    wire [4:0] sum = {1'b0, S | DI} + {1'b0, DI & ~S} + {4'b0, CI | CYINIT};
    assign O = sum[3:0];
    assign CO = {sum[4], sum[3:1] ^ S[3:1]};
endmodule

module FDRE(output reg Q, input C, CE, D, R);
    parameter [0:0] INIT = 0;
    initial Q = INIT;
    always @(posedge C) if (R) Q <= 0; else if (CE) Q <= D;
endmodule

module FDSE(output reg Q, input C, CE, D, S);
    parameter [0:0] INIT = 1;
    initial Q = INIT;
    always @(posedge C) if (S) Q <= 1; else if (CE) Q <= D;
endmodule
